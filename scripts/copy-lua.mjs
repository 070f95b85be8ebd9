// The compiler leaves Lua scripts, stylesheets and browser scripts behind; the built program reads them from beside itself.
import { cpSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folders = { 'src/redis/scripts': /\.lua$/, 'src/dashboard/assets': /\.(css|js|svg)$/ };

for (const [folder, kept] of Object.entries(folders)) {
  const [from, to] = [`../${folder}`, `../dist/${folder}`].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  cpSync(from, to, { recursive: true, filter: (path) => path === from || kept.test(path) });
}
