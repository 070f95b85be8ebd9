import type { Command } from './command.ts';
import { COPIES } from './commands/copies.ts';
import { count } from './commands/count.ts';
import { DEAD_LETTERS } from './commands/dead-letters.ts';
import { deleteCommand } from './commands/delete.ts';
import { doctor } from './commands/doctor.ts';
import { get } from './commands/get.ts';
import { MERKLE } from './commands/merkle.ts';
import { migrate } from './commands/migrate.ts';
import { pressure } from './commands/pressure.ts';
import { put } from './commands/put.ts';
import { scan } from './commands/scan.ts';
import { status } from './commands/status.ts';
import { tail } from './commands/tail.ts';

/** In the order of the help. */
export const COMMANDS: readonly Command[] = [
  put,
  get,
  deleteCommand,
  scan,
  count,
  status,
  tail,
  pressure,
  ...DEAD_LETTERS,
  ...COPIES,
  ...MERKLE,
  migrate,
  doctor,
];
