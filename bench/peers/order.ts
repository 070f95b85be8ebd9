import type { NewItem } from '../../src/types/write.ts';
import type { Deployment } from '../../test/helpers/deployment.ts';
import { countWrong, type Way } from './way.ts';

const IDS = 1000;
/** Callers at once, each with an id of its own. */
const CALLERS = 50;

/**
 * Ids that end with the older of two writes, as row or as copy. Each caller submits the second write when the first was
 * accepted, as a service does that changes a thing twice.
 */
export async function countOutOfOrder(way: Way, deployment: Deployment): Promise<number> {
  const ids = Array.from({ length: IDS }, (_, i) => `twice.${i}`);
  let next = 0;
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      for (let id = ids[next++]; id !== undefined; id = ids[next++]) {
        await way.submit([edited(id, 1)]);
        await way.submit([edited(id, 2)]);
      }
    }),
  );
  await way.settled();
  return countWrong(
    way,
    deployment,
    ids.map((id) => edited(id, 2)),
  );
}

function edited(id: string, edit: number): NewItem {
  return { id, content: { edit } };
}
