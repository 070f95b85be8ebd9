import { SchemaMissingError, ShardsError } from '../errors.ts';
import type { DeploymentRow } from './deployment.ts';

interface NamedShard {
  readonly name: string;
}

/** The map gives a partition to a shard that this process does not know. */
export function unknownOwner(
  partition: number,
  owner: string | undefined,
  shards: readonly NamedShard[],
): ShardsError {
  const names = shards.map(({ name }) => name).join(', ');
  return new ShardsError(
    `Partition ${partition} is at shard ${owner ?? 'unknown'}, and TIERLINE_SHARDS names ${names}. Give every process all shards of the deployment (\`tierline partitions show\`).`,
  );
}

/** Compares the list of shards with what their own rows say. @throws ShardsError, SchemaMissingError */
export function checkShards(shards: readonly NamedShard[], rows: readonly DeploymentRow[]): void {
  const [first] = rows as readonly [DeploymentRow, ...DeploymentRow[]];
  rows.forEach((row, i) => {
    const { name } = shards[i] as NamedShard;
    if (row.shard === undefined) {
      if (shards.length === 1) return;
      throw new SchemaMissingError(
        `The database of shard ${name} was not migrated as a shard. Run \`tierline migrate\` with the same TIERLINE_SHARDS.`,
      );
    }
    if (row.id !== first.id) {
      throw new ShardsError(
        `The database of shard ${name} is of another deployment than that of shard ${shards[0]?.name}. Correct its URL in TIERLINE_SHARDS.`,
      );
    }
    if (row.shard !== name && !(shards.length === 1 && row.map?.shards.length === 1)) {
      throw otherName(name, row, shards);
    }
    const missing = row.map?.shards.find((other) => shards.every((shard) => shard.name !== other));
    if (missing === undefined || row.map?.shards.length === 1) return;
    throw new ShardsError(
      `The deployment has a shard ${missing}, which TIERLINE_SHARDS does not name. Give every process all shards of the deployment (\`tierline partitions show\`).`,
    );
  });
}

function otherName(
  name: string,
  { shard: stored, map }: DeploymentRow,
  shards: readonly NamedShard[],
): ShardsError {
  if (shards.length === 1) {
    return new ShardsError(
      `The database is shard ${stored} of a deployment with the shards ${map?.shards.join(', ')}. Set TIERLINE_SHARDS to all of them, as every process needs it.`,
    );
  }
  const twin = shards.some((shard) => shard.name === stored);
  return new ShardsError(
    `The URL of shard ${name} in TIERLINE_SHARDS leads to the database of shard ${stored}. ${twin ? 'Are two URLs swapped, or two the same?' : 'Give each shard the name that it was migrated with.'}`,
  );
}
