const ROUNDS = 9;

export interface RoundTrips {
  /** Of several, the middle one, in milliseconds. */
  readonly medianMs: number;
  /** How far this machine's clock is ahead of the server's, in milliseconds; negative when it is behind. */
  readonly skewMs: number;
}

/** Asks a server for its time again and again. The skew is taken from the fastest answer, whose error is the smallest. */
export async function roundTrips(serverTimeMs: () => Promise<number>): Promise<RoundTrips> {
  const trips: { ms: number; skewMs: number }[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const sentAt = Date.now();
    const started = performance.now();
    const serverMs = await serverTimeMs();
    const ms = performance.now() - started;
    // Half the way there, as NTP supposes.
    trips.push({ ms, skewMs: sentAt + ms / 2 - serverMs });
  }
  trips.sort((a, b) => a.ms - b.ms);
  return { medianMs: trips[ROUNDS >> 1]?.ms ?? 0, skewMs: trips[0]?.skewMs ?? 0 };
}
