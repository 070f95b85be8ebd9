import { printable } from '../printable.ts';

/** Markup that is safe to send. Only `html` makes it, and `html` escapes all values. */
export class Html {
  readonly #text: string;

  private constructor(text: string) {
    this.#text = text;
  }

  static of(strings: TemplateStringsArray, values: readonly Content[]): Html {
    return new Html(
      strings.reduce((text, string, i) => text + (i === 0 ? '' : textOf(values[i - 1])) + string, ''),
    );
  }

  toString(): string {
    return this.#text;
  }
}

export type Content = Html | string | number | null | undefined | false | readonly Content[];

/**
 * A tagged template: `html\`<p title="${title}">${text}</p>\``. Values are escaped for text and quoted attributes, lists are
 * joined, and null, undefined and false are left out. There is no way to put in markup that is not `Html`. Characters that
 * cannot be seen come out as `printable` escapes.
 */
export function html(strings: TemplateStringsArray, ...values: readonly Content[]): Html {
  return Html.of(strings, values);
}

const LINE_BREAK = html`\n`;

/**
 * The first value of an input. The browser sends it back as it is, so it must not hold escapes. For a text with characters
 * that cannot be seen the input starts empty.
 */
export function fieldValue(text: string): string {
  return printable(text) === text ? text : '';
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};

function textOf(value: Content): string {
  if (value === null || value === undefined || value === false) return '';
  if (value instanceof Html) return value.toString();
  if (typeof value === 'object') return value.map(textOf).join('');
  return escaped(printable(String(value)));
}

/** Text of several lines, for `pre`. */
export function lines(text: string): Html {
  return html`${text.split('\n').map((line, i) => [i > 0 && LINE_BREAK, line])}`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"'`]/g, (character) => ENTITIES[character] ?? '');
}
