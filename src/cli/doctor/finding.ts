/** The result of one check. */
export interface Finding {
  readonly area: 'node' | 'redis' | 'cache' | 'postgres' | 'queue' | 'maintenance';
  readonly about: string;
  /** `warn`: it works, with a risk or slowly. `fail`: Tierline does not work, or writes may be lost. */
  readonly level: 'ok' | 'warn' | 'fail';
  readonly found: string;
  /** What to do. Every finding that is not ok has one. */
  readonly fix?: string;
}

export function ok(area: Finding['area'], about: string, found: string): Finding {
  return { area, about, level: 'ok', found };
}

export function warn(area: Finding['area'], about: string, found: string, fix: string): Finding {
  return { area, about, level: 'warn', found, fix };
}

export function fail(area: Finding['area'], about: string, found: string, fix: string): Finding {
  return { area, about, level: 'fail', found, fix };
}
