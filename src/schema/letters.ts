/**
 * Words of the program, and the letters that stand for them in Redis. A letter takes one byte, and thousands of them are stored
 * and read a second. Letters stand in stored texts and in SQL only; the program has words.
 */
export class Letters<Word extends string> {
  /** The letter of each word. */
  readonly of: Readonly<Record<Word, string>>;
  /** By character code: faster than a map for text that is read for each item. */
  readonly #words: (Word | undefined)[] = Array.from({ length: 128 });

  constructor(of: Readonly<Record<Word, string>>) {
    this.of = of;
    for (const word of Object.keys(of) as Word[]) this.#words[of[word].charCodeAt(0)] = word;
  }

  /** The word that stands at one place of a text; undefined when there is no known letter. */
  wordAt(text: string, at: number): Word | undefined {
    return this.#words[text.charCodeAt(at)];
  }

  encode(words: readonly Word[]): string {
    return words.map((word) => this.of[word]).join('');
  }

  /** For regular expressions: any of the letters. */
  get pattern(): string {
    return `[${Object.values(this.of).join('')}]`;
  }
}
