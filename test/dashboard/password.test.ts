import test from 'ava';
import { loadConfig } from '../../src/config.ts';
import { Credentials } from '../../src/dashboard/credentials.ts';
import { ConfigError } from '../../src/errors.ts';
import { hashPassword, verifyPassword } from '../../src/password-hash.ts';

test.serial('a hash verifies its password alone, and is different each time', async (t) => {
  const hash = await hashPassword('Grüße, correct horse');
  t.true(await verifyPassword('Grüße, correct horse', hash));
  t.true(await verifyPassword('Gru\u0308ße, correct horse', hash), 'the same text in another Unicode form');
  t.false(await verifyPassword('Grüße, correct horse ', hash));
  t.not(await hashPassword('Grüße, correct horse'), hash);
  t.is(loadConfig({ dashboardPasswordHash: hash }).dashboardPasswordHash, hash);
  t.notRegex(hash, /[$'"`\\\s]/, 'nothing that a shell or an .env file would change');
});

test('a password where its hash belongs is refused with the way to make one', (t) => {
  const error = t.throws(() => loadConfig({ dashboardPasswordHash: 'correct horse' }), {
    instanceOf: ConfigError,
  });
  t.regex(error.message, /--hash-password/);
  t.notRegex(error.message, /correct horse/);
});

const hashOf = (cost: string) => `scrypt:${cost}:${'a'.repeat(22)}:${'b'.repeat(43)}`;

for (const cost of ['99:99:99', '0:8:1', '16:1:1', '19:8:1', '22:1:1']) {
  test(`a hash whose cost scrypt refuses is refused at once: ${cost}`, async (t) => {
    await t.throwsAsync(verifyPassword('horse', hashOf(cost)));
    t.throws(() => loadConfig({ dashboardPasswordHash: hashOf(cost) }), {
      instanceOf: ConfigError,
      message: /--hash-password/,
    });
  });
}

for (const cost of ['1:1:1', '15:1:1', '10:8:16', '10:99:3', '18:8:1']) {
  test.serial(`a hash of another cost is taken: ${cost}`, async (t) => {
    t.is(loadConfig({ dashboardPasswordHash: hashOf(cost) }).dashboardPasswordHash, hashOf(cost));
    t.false(await verifyPassword('horse', hashOf(cost)));
  });
}

test('a short token is refused without being repeated', (t) => {
  const error = t.throws(() => loadConfig({ dashboardToken: 'swordfish' }), { instanceOf: ConfigError });
  t.regex(error.message, /32 or more/);
  t.notRegex(error.message, /swordfish/);
});

for (const host of ['127.0.0.1', '0.0.0.0', '::']) {
  test(`without credentials there is no dashboard on ${host}, and the message says how to make them`, (t) => {
    const error = t.throws(() => new Credentials(loadConfig({ dashboardHost: host })), {
      instanceOf: ConfigError,
    });
    t.true(error.message.includes(host));
    t.regex(error.message, /--hash-password.*TIERLINE_DASHBOARD_PASSWORD_HASH.*TIERLINE_DASHBOARD_TOKEN/s);
  });
}

test.serial('the sign-in page takes the password or the token, and no third thing', async (t) => {
  const token = 'k'.repeat(40);
  const credentials = new Credentials(
    loadConfig({ dashboardPasswordHash: await hashPassword('horse'), dashboardToken: token }),
  );
  t.is(await credentials.acceptsSecret('horse'), true);
  t.is(await credentials.acceptsSecret(token), true);
  t.is(await credentials.acceptsSecret(''), false);
  t.is(await credentials.acceptsSecret('cow'), false);
  t.true(credentials.acceptsHeader(`Bearer ${token}`));
  t.false(credentials.acceptsHeader(`Bearer ${token}k`));
  t.false(credentials.acceptsHeader('Bearer '));
  t.false(credentials.acceptsHeader('Bearer horse'));
});

test.serial('a flood of sign-ins is turned away instead of filling the memory', async (t) => {
  const credentials = new Credentials(loadConfig({ dashboardPasswordHash: await hashPassword('horse') }));
  const answers = await Promise.all(Array.from({ length: 6 }, () => credentials.acceptsSecret('horse')));
  t.is(answers.filter((answer) => answer === true).length, 2);
  t.is(answers.filter((answer) => answer === 'busy').length, 4);
});
