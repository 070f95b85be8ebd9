/**
 * Invisible characters that change what people read. Controls move a terminal's cursor, bidirectional controls turn
 * `gnp.exe` into `exe.png`, zero-width characters make two ids look alike, and line breaks end a line.
 * The properties are Unicode's (Cc, Cf, Zl, Zp); the single characters are letters and marks without a shape.
 */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u115F\u1160\u3164\uFFA0]|\u034F|\u17B4|\u17B5/gu;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Stored text as pages and terminals show it: one line, with escapes in place of invisible characters. The escapes are
 * those of JSON, so a line of JSON stays the same JSON.
 */
export function printable(text: string): string {
  return text.replace(UNSEEN, (character) => SHORT[character] ?? escaped(character));
}

/** The same for text in which we put the line breaks. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

function escaped(character: string): string {
  return character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
}
