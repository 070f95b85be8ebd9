import type { PeerRow, PeerRows, Registers } from '../types/merkle.ts';
import { textArray } from './arrays.ts';
import { IN_SCOPE, type RowScope } from './deployment.ts';
import type { Queryable } from './pool.ts';
import { DIGEST } from './read-items.ts';

/** Contents of one answer, in bytes. */
const ANSWER_BYTES = 4 * 1024 * 1024;

const REGISTERS = `id, content_version AS "contentVersion", deleted, coalesce(encode(content_hash, 'hex'), '') AS "contentHash",
  state_version AS "stateVersion", state`;

/** Both registers of the rows of `ids`, tombstones included, in no order. */
export async function readRegisters(
  db: Queryable,
  ids: readonly string[],
  scope: RowScope = 'all',
): Promise<Registers[]> {
  const { rows } = await db.query<Registers>({
    name: `tierline-registers-${scope}`,
    text: `SELECT ${REGISTERS} FROM items WHERE id = ANY($1::text[])${IN_SCOPE[scope]}`,
    values: [textArray(ids)],
  });
  return rows;
}

/** The sum of a size over all rows before this one. */
const SUM_BEFORE = (size: string) =>
  `coalesce(sum(${size}) OVER (ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)`;

/** Whole rows of the first ids, as many as fit into `ANSWER_BYTES`. */
export async function readPeerRows(
  db: Queryable,
  ids: readonly string[],
  scope: RowScope = 'all',
): Promise<PeerRows> {
  const { rows } = await db.query<PeerRow & { place: number; found: number; sent: number }>({
    name: `tierline-peer-rows-${scope}`,
    // By stored sizes first, because they are known without reading the contents, then by the contents as they are sent.
    text: `SELECT * FROM (
             SELECT found, place, ${REGISTERS}, content_bytes IS NOT NULL AS binary, durable, trace_parent AS "traceParent",
               ${DIGEST} AS digest, body, ${SUM_BEFORE('octet_length(body)')} AS sent
             FROM (SELECT *, coalesce(content::text, replace(encode(content_bytes, 'base64'), E'\\n', ''), '') AS body
                   FROM (SELECT i.*, place::int, (count(*) OVER ())::int AS found,
                           ${SUM_BEFORE('coalesce(pg_column_size(content), pg_column_size(content_bytes), 0)')} AS stored
                         FROM unnest($1::text[]) WITH ORDINALITY AS asked (asked_id, place) JOIN items i ON i.id = asked_id${IN_SCOPE[scope]}) sized
                   WHERE stored < ${ANSWER_BYTES}) small) counted
           WHERE sent < ${ANSWER_BYTES} ORDER BY place`,
    values: [textArray(ids)],
  });
  const last = rows.at(-1);
  return {
    rows: rows.map(({ place: _place, found: _found, sent: _sent, ...row }) => row),
    answered: last === undefined || last.found === rows.length ? ids.length : last.place,
  };
}
