/**
 * Does the work of each value, of at most `width` at once. The next value is asked for as soon as there is room, so whoever finds
 * values goes on while others are worked on. After an error no work begins.
 * @throws the first error, when all work that has begun is over: the caller may close what the work uses
 */
export async function eachOf<T>(
  values: AsyncIterable<T>,
  width: number,
  work: (value: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  const errors: unknown[] = [];
  const run = async (value: T) => {
    try {
      await work(value);
    } catch (error) {
      errors.push(error);
    }
  };
  try {
    for await (const value of values) {
      if (errors.length > 0) break;
      const one = run(value).finally(() => running.delete(one));
      running.add(one);
      if (running.size === width) await Promise.race(running);
      if (errors.length > 0) break;
    }
  } catch (error) {
    errors.push(error);
  }
  await Promise.all(running);
  if (errors.length > 0) throw errors[0];
}
