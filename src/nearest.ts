/** The known name that was probably meant; undefined when none is similar. */
export function nearMiss(name: string, known: readonly string[]): string | undefined {
  const best = nearest(name, known);
  // At least two edits, and one for every five characters: `limt`, `NAMESPCE`, `MAXITEMS`.
  const allowed = Math.max(2, Math.floor(name.length / 5));
  return best !== undefined && editDistance(plain(name), plain(best)) <= allowed ? best : undefined;
}

/** The known name with the fewest edits; undefined when none is known. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const distance = editDistance(plain(name), plain(candidate));
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Differences in case are not counted. */
function plain(name: string): string {
  return name.toLowerCase();
}

/** Levenshtein distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replace));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
