/**
 * Characters that nobody sees and that change what people read: controls, which move a terminal's cursor, bidirectional
 * controls, which make `exe.png` of `gnp.exe`, zero-width characters, which make two ids look alike, and line breaks.
 * The properties are Unicode's (Cc, Cf, Zl, Zp); the single ones are letters and marks that have no shape.
 */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u115F\u1160\u3164\uFFA0]|\u034F|\u17B4|\u17B5/gu;

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * Stored text for people's eyes, on pages and terminals: one line, with escapes in the place of what cannot be seen. They
 * are those of JSON, so a line of JSON stays the same JSON.
 */
export function printable(text: string): string {
  return text.replace(UNSEEN, (character) => SHORT[character] ?? escaped(character));
}

/** The same for text whose line breaks are ours. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

function escaped(character: string): string {
  return character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
}
