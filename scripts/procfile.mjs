/** The processes of a Procfile: lines of `name: command`. */
export function parseProcfile(text) {
  return [...text.matchAll(/^([\w-]+):[ \t]*(\S.*)$/gm)].map(([, name, command]) => ({ name, command }));
}
