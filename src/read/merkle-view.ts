import { InvalidItemError } from '../errors.ts';
import { merklePrefix, merkleRoot, verifyMerkle } from '../postgres/merkle-tables.ts';
import { type Pool, readL3 } from '../postgres/pool.ts';
import type { CallOptions, Merkle, MerkleNode, MerkleVerification } from '../types.ts';

/** The Merkle tables, read. Exact in any snapshot: what is not folded yet is added. */
export class MerkleView implements Merkle {
  readonly #pool: Pool;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** @throws TierUnavailableError of L3, SchemaMissingError */
  root(options?: CallOptions): Promise<MerkleNode> {
    return this.#read(() => merkleRoot(this.#pool), options);
  }

  /** @throws InvalidItemError, TierUnavailableError of L3, SchemaMissingError */
  prefix(path: string, options?: CallOptions): Promise<MerkleNode> {
    if (typeof path !== 'string' || path.includes('\0') || !path.isWellFormed()) {
      throw new InvalidItemError('path', 'must be text without NUL or lone surrogates');
    }
    return this.#read(() => merklePrefix(this.#pool, path), options);
  }

  /** @throws TierUnavailableError of L3, SchemaMissingError */
  verify(options?: CallOptions): Promise<MerkleVerification> {
    return this.#read(() => verifyMerkle(this.#pool), options);
  }

  async #read<T>(work: () => Promise<T>, { signal }: CallOptions = {}): Promise<T> {
    signal?.throwIfAborted();
    const result = await readL3(work);
    signal?.throwIfAborted();
    return result;
  }
}
