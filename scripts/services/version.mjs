/** The first dotted number in a text such as `Redis server v=7.0.15 sha=…` or `postgres (PostgreSQL) 17beta1`. */
export function versionIn(text) {
  return /\d+(?:\.\d+)*/.exec(text)?.[0];
}

/** Negative when `a` is the older one, positive when it is the newer one. */
export function compareVersions(a, b) {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let index = 0; index < Math.max(left.length, right.length); index++) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
