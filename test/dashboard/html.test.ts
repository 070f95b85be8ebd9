import test from 'ava';
import * as fc from 'fast-check';
import { html } from '../../src/dashboard/layout.ts';

const HOSTILE = `"><script>alert('1')</script><img src=x onerror=\`alert(1)\`>&amp;`;

test('html escapes text and attributes, so that hostile values stay values', (t) => {
  const page = html`<p title="${HOSTILE}">${HOSTILE}</p>`.toString();
  const escaped = HOSTILE.replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
    .replaceAll('`', '&#96;');
  t.is(page, `<p title="${escaped}">${escaped}</p>`);
});

test('html puts parts and lists in as they are, once', (t) => {
  const part = html`<b>${'<'}</b>`;
  t.is(html`<p>${[part, [part, 3]]}</p>`.toString(), '<p><b>&lt;</b><b>&lt;</b>3</p>');
});

test('html leaves null, undefined and false out, and keeps 0', (t) => {
  t.is(html`${null}${undefined}${false}${0}`.toString(), '0');
});

test('html does not take an object that looks like markup for markup', (t) => {
  const forged = { toString: () => '<script>' } as unknown as string;
  t.throws(() => html`${forged}`);
});

test('no text leaves its place: what comes out holds no character of markup', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (value) => {
      t.notRegex(html`${value}`.toString(), /[<>"'`]/);
    }),
  );
});
