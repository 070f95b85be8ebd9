import { createRequire } from 'node:module';
import { z } from 'zod';

/** By the package's own name: the path to package.json differs between `src` and `dist`. */
const manifest = createRequire(import.meta.url)('tierline/package.json') as unknown;

export const VERSION = z.object({ version: z.string() }).parse(manifest).version;
