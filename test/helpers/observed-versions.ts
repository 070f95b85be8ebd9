/**
 * The versions that one process has given out (I6). Two reads that end in the same turn of the event loop reach their callers in
 * any order, so an answer counts for the reads that end in a later turn.
 */
export class ObservedVersions {
  readonly violations: string[] = [];
  reads = 0;
  readonly #newest = new Map<string, number>();

  /** @param how the read, for the message. @param version undefined: the answer was "absent", which has no version */
  note(id: string, version: number | undefined, how: string): void {
    this.reads++;
    if (version === undefined) return;
    const known = this.newestOf(id);
    if (version < known) this.violations.push(`${how} gave ${id} at ${version} after ${known}`);
    else setImmediate(() => this.#newest.set(id, Math.max(version, this.newestOf(id))));
  }

  newestOf(id: string): number {
    return this.#newest.get(id) ?? 0;
  }
}
