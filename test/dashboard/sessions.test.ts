import test from 'ava';
import { sameText, Sessions } from '../../src/dashboard/sessions.ts';
import { ownPath } from '../../src/dashboard/sign-in-routes.ts';

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 0, 1);

test('a session is found by its cookie until it is over', (t) => {
  const sessions = new Sessions(HOUR);
  const { cookie, session } = sessions.begin(NOW);
  t.deepEqual(sessions.find(cookie, NOW), session);
  t.deepEqual(sessions.find(cookie, NOW + HOUR - 1), session);
  t.is(sessions.find(cookie, NOW + HOUR), undefined);
});

test('a cookie that was changed, cut, or signed by another process is none', (t) => {
  const sessions = new Sessions(HOUR);
  const { cookie } = sessions.begin(NOW);
  const [id, expires, signature] = cookie.split('.') as [string, string, string];
  const forged = [
    `${id}.${Number(expires) + HOUR}.${signature}`,
    `x${id}.${expires}.${signature}`,
    `${id}.${expires}.`,
    `${id}.${expires}`,
    `${cookie}.x`,
    `${id}.NaN.${signature}`,
    '',
    new Sessions(HOUR).begin(NOW).cookie,
  ];
  for (const text of forged) t.is(sessions.find(text, NOW), undefined, text);
  t.is(sessions.find(undefined, NOW), undefined);
});

test('the token of a form is no signature of a session', (t) => {
  const sessions = new Sessions(HOUR);
  const { cookie, session } = sessions.begin(NOW);
  const [id, expires] = cookie.split('.') as [string, string];
  t.is(sessions.find(`${id}.${expires}.${session.csrfToken}`, NOW), undefined);
});

test('a session that signed out stays out, others stay in', (t) => {
  const sessions = new Sessions(HOUR);
  const [one, two] = [sessions.begin(NOW), sessions.begin(NOW)];
  sessions.end(one.session, NOW);
  t.is(sessions.find(one.cookie, NOW + 1), undefined);
  t.deepEqual(sessions.find(two.cookie, NOW + 1), two.session);
  sessions.end(two.session, NOW + HOUR - 1);
  t.is(
    sessions.find(one.cookie, NOW + HOUR - 1),
    undefined,
    'remembered until it would have ended by itself',
  );
});

test('texts of different length compare as different', (t) => {
  t.true(sameText('abc', 'abc'));
  t.false(sameText('abc', 'abcd'));
  t.false(sameText('', 'a'));
});

for (const [next, leadsTo] of [
  ['/', '/'],
  ['/item?id=a%20b', '/item?id=a%20b'],
  ['/merkle?path=uk.nhs', '/merkle?path=uk.nhs'],
  ['https://evil.example/', '/'],
  ['//evil.example/', '/'],
  ['/\\evil.example/', '/'],
  ['/\t/evil.example/', '/'],
  ['/.//evil.example', '/'],
  ['javascript:alert(1)', '/'],
  ['item', '/'],
  ['', '/'],
] as const) {
  test(`a sign-in for ${JSON.stringify(next)} leads to ${leadsTo}`, (t) => {
    t.is(ownPath(next), leadsTo);
  });
}
