// The compiler leaves Lua scripts behind; the built program reads them from beside itself.
import { cpSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const [from, to] = ['../src/redis/scripts', '../dist/src/redis/scripts'].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
);
cpSync(from, to, { recursive: true, filter: (path) => path === from || path.endsWith('.lua') });
