import type { FeedEntry } from '../../redis/feed.ts';
import { type ChangeKind, changeKindAt, feedChangesSchema } from '../../schema/feed.ts';
import type { Command } from '../command.ts';
import { EXIT } from '../exit-code.ts';
import { printable } from '../../printable.ts';
import { timeOf } from '../table.ts';

const KINDS: Readonly<Record<ChangeKind, string>> = { present: 'put', deleted: 'delete', cacheOnly: 'cache' };

interface Change {
  readonly at: number;
  readonly id: string;
  readonly version: number;
  readonly kind: string;
}

export const tail: Command = {
  name: 'tail',
  summary: 'Follow the change feed from now on, until interrupted',
  takes: '',
  minArguments: 0,
  maxArguments: 0,
  options: {
    prefix: { takes: '<prefix>', help: 'only ids that begin with this text' },
    limit: { takes: '<changes>', help: 'stop after so many' },
  },
  examples: [
    ['@ tail --prefix uk.', 'changes as they settle'],
    ['@ tail --json --limit 10', 'the next ten, one line each'],
  ],
  async run({ terminal, connections, json }, args) {
    const limit = args.integer('limit', 1) ?? Number.POSITIVE_INFINITY;
    const prefix = args.text('prefix') ?? '';
    const { feed } = connections;

    return new Promise((resolve, reject) => {
      let printed = 0;
      // Lines leave in order although each waits for the terminal.
      let printing = Promise.resolve();
      const end = () => {
        process.off('SIGINT', end);
        process.off('SIGTERM', end);
        printing.then(() => resolve(EXIT.ok), reject);
      };
      process.on('SIGINT', end);
      process.on('SIGTERM', end);
      feed.listen({
        onEntry(entry) {
          for (const change of changesOf(entry)) {
            if (printed >= limit || !change.id.startsWith(prefix)) continue;
            printed++;
            const line = json ? JSON.stringify(change) : humanLine(change);
            printing = printing.then(() => terminal.print(line));
            printing.catch(reject);
          }
          if (printed >= limit) end();
        },
        onGap: (kind) =>
          terminal.complain(
            kind === 'lost'
              ? 'tierline tail: Redis came back without its data'
              : 'tierline tail: changes were missed; the feed no longer holds them',
          ),
        onDown: () => terminal.complain('tierline tail: Redis is out of sight, waiting'),
        onLive: () => terminal.complain('tierline tail: following again'),
      });
      connections
        .followFeed()
        .then(() => terminal.complain('following the change feed; Ctrl-C ends'), reject);
    });
  },
};

function changesOf(entry: FeedEntry): Change[] {
  const changes = feedChangesSchema.parse(JSON.parse(entry.changes));
  const { ids, cv, sv } = changes;
  const at = Number.parseInt(entry.id, 10);
  return ids.map((id, i) => ({
    at,
    id,
    version: Math.max(cv[i] ?? 0, sv?.[i] ?? 0),
    kind: KINDS[changeKindAt(changes, i)],
  }));
}

function humanLine({ at, id, version, kind }: Change): string {
  return `${timeOf(at)}  ${kind.padEnd(6)}  ${version}  ${printable(id)}`;
}
