import type { NewItem } from '../src/types/write.ts';

/** Items of about 300 bytes of JSON, all different, under 1,000 prefixes. */
export function documents(count: number, prefix = 'doc'): NewItem[] {
  return Array.from({ length: count }, (_, i) => documentAt(i, prefix));
}

/** One of them. */
export function documentAt(i: number, prefix = 'doc'): NewItem {
  return {
    id: `${prefix}.${i % 1000}.${i}`,
    content: {
      name: `Document number ${i}`,
      owner: `user-${(i * 7919) % 10_007}`,
      tags: ['alpha', 'beta', `t${i % 17}`],
      size: (i * 31) % 100_000,
      score: ((i * 37) % 1000) / 7,
      active: i % 3 === 0,
      text: 'Some words that stand for what people really store, long enough to matter. '.slice(
        0,
        60 + (i % 20),
      ),
      place: { lat: (i % 180) - 90, lon: (i % 360) - 180, country: 'GB' },
    },
  };
}
