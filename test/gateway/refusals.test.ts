import { request } from 'node:http';
import { connect } from 'node:net';
import test from 'ava';
import { tokenEntry } from '../../src/gateway-tokens.ts';
import { createDeployment } from '../helpers/deployment.ts';
import { eventually } from '../helpers/eventually.ts';
import { type Call, callerOf, refusalOf, startTestGateway, TOKENS } from '../helpers/gateway.ts';
import { headOf, sendSlowly } from '../helpers/slow-request.ts';
import { type SpawnedWorker, startWorker } from '../helpers/worker-process.ts';

/** The gateway as a process: what it logs is part of how it refuses. */
const BODY_TIMEOUT_MS = 1500;
const PROBLEM = 'application/problem+json';
const SECRET = 'payload-that-nobody-may-log';
const HUGE_BYTES = 1024 * 1024 * 1024;

const deployment = await createDeployment();
let worker: SpawnedWorker;
let url: string;
let call: Call;

interface Line {
  readonly msg: string;
  readonly level: number;
  readonly code?: string;
  readonly token?: string;
  readonly route?: string;
  readonly audit?: Readonly<Record<string, unknown>>;
}

function linesSince(start: number): Line[] {
  const text = worker.output().slice(start);
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line);
}

test.before(async () => {
  worker = await startWorker('gateway', {
    ...deployment.env,
    TIERLINE_GATEWAY_PORT: '0',
    TIERLINE_GATEWAY_TOKENS: TOKENS.map(tokenEntry).join(','),
    TIERLINE_GATEWAY_BODY_TIMEOUT_MS: String(BODY_TIMEOUT_MS),
    TIERLINE_MAX_CONTENT_BYTES: String(1024 * 1024),
  });
  url = /"url":"([^"]+)"/.exec(worker.output())?.[1] ?? '';
  call = callerOf(url);
});

test.after.always(async () => {
  await worker?.stop();
  await deployment.close();
});

const forged = (listing: readonly unknown[]) => Buffer.from(JSON.stringify(listing)).toString('base64url');
const json = { 'content-type': 'application/json' };

/** What is refused, with the status and code of the problem. */
const REFUSED: readonly (readonly [
  string,
  string,
  RequestInit & { readonly token?: string },
  number,
  string,
])[] = [
  ['no token', '/v1/items/a', { token: '' }, 401, 'ERR_ACCESS_DENIED'],
  ['an unknown token', '/v1/items/a', { token: 'made-up' }, 401, 'ERR_ACCESS_DENIED'],
  ['no token, no route', '/v1/none', { token: '' }, 401, 'ERR_ACCESS_DENIED'],
  [
    'a reader that writes',
    '/v1/items/a',
    { token: 'reader', method: 'PUT', body: SECRET },
    403,
    'ERR_ACCESS_DENIED',
  ],
  [
    'a reader that deletes',
    '/v1/items?prefix=a',
    { token: 'reader', method: 'DELETE' },
    403,
    'ERR_ACCESS_DENIED',
  ],
  ['a writer that reads', '/v1/items/a', { token: 'writer' }, 403, 'ERR_ACCESS_DENIED'],
  ['a writer that follows', '/v1/changes', { token: 'writer' }, 403, 'ERR_ACCESS_DENIED'],
  ['a peer that reads', '/v1/items/a', { token: 'peer' }, 403, 'ERR_ACCESS_DENIED'],
  ['a read beyond the prefix', '/v1/items/other', { token: 'shop' }, 403, 'ERR_ACCESS_DENIED'],
  ['a status beyond the prefix', '/v1/status/shop', { token: 'shop' }, 403, 'ERR_ACCESS_DENIED'],
  [
    'a write beyond the prefix',
    '/v1/items/other',
    { token: 'shop', method: 'PUT', body: SECRET },
    403,
    'ERR_ACCESS_DENIED',
  ],
  [
    'a delete beyond the prefix',
    '/v1/items/other',
    { token: 'shop', method: 'DELETE' },
    403,
    'ERR_ACCESS_DENIED',
  ],
  [
    'a state beyond the prefix',
    '/v1/items/other/state',
    { token: 'shop', method: 'PATCH', headers: json, body: '{"state":"x"}' },
    403,
    'ERR_ACCESS_DENIED',
  ],
  [
    'one of many ids beyond the prefix',
    '/v1/items:get',
    { token: 'shop', method: 'POST', headers: json, body: '{"ids":["shop.1","other"]}' },
    403,
    'ERR_ACCESS_DENIED',
  ],
  ['a list beyond the prefix', '/v1/items?prefix=sho', { token: 'shop' }, 403, 'ERR_ACCESS_DENIED'],
  ['a list of everything', '/v1/items?prefix=', { token: 'shop' }, 403, 'ERR_ACCESS_DENIED'],
  ['a list by state', '/v1/items?state=default', { token: 'shop' }, 403, 'ERR_ACCESS_DENIED'],
  [
    'a range beyond the prefix',
    '/v1/items?prefix=other',
    { token: 'shop', method: 'DELETE' },
    403,
    'ERR_ACCESS_DENIED',
  ],
  [
    'a range by state',
    '/v1/items?state=default',
    { token: 'shop', method: 'DELETE' },
    403,
    'ERR_ACCESS_DENIED',
  ],
  [
    'a cursor that leaves the prefix',
    `/v1/items?prefix=shop.&after=${forged([1, 'prefix', 'shop.', 'other'])}`,
    { token: 'shop' },
    400,
    'ERR_INVALID_ITEM',
  ],
  [
    'a cursor of another prefix',
    `/v1/items?prefix=shop.&after=${forged([1, 'prefix', '', 'other'])}`,
    { token: 'shop' },
    400,
    'ERR_INVALID_ITEM',
  ],
  ['a place on the feed that was made up', '/v1/changes?after=1.abc', {}, 400, 'ERR_INVALID_ITEM'],
];

for (const [what, path, init, status, code] of REFUSED) {
  test.serial(`I10: ${what} is refused, typed, and logged once`, async (t) => {
    const start = worker.output().length;
    const response = await call(path, init);
    t.deepEqual(await refusalOf(response), [status, PROBLEM, code]);
    await eventually(() => linesSince(start).length > 0, 'it is logged');
    const lines = linesSince(start);
    t.deepEqual(
      lines.map((line) => [line.msg, line.code, line.level]),
      [['request refused', code, 40]],
    );
  });
}

test.serial('a batch writes the lines within the prefix of its token, and refuses the others', async (t) => {
  const body = '{"id":"shop.1","content":1}\n{"id":"other","content":2}\n';
  const headers = { 'content-type': 'application/x-ndjson' };
  const response = await call('/v1/items:batch', { token: 'shop', method: 'POST', headers, body });
  const lines = (await response.text()).trim().split('\n');
  t.deepEqual(
    lines
      .map((line) => JSON.parse(line) as { status: string; code?: string })
      .map(({ status, code }) => code ?? status),
    ['accepted', 'ERR_ACCESS_DENIED'],
  );
  t.is((await call('/v1/items/other')).status, 404);
});

test.serial(
  'each write has one audit line: who, what and which id, and neither content nor token',
  async (t) => {
    const start = worker.output().length;
    await call('/v1/items/a', { method: 'PUT', body: SECRET });
    await call('/v1/items/a/state', { method: 'PATCH', headers: json, body: '{"state":"s"}' });
    await call('/v1/items/a', { method: 'DELETE' });
    await call('/v1/items?prefix=zz', { method: 'DELETE' });
    await eventually(() => linesSince(start).length >= 4, 'four lines');
    t.deepEqual(
      linesSince(start).map(({ msg, audit }) => [
        msg,
        audit?.['token'],
        audit?.['operation'],
        audit?.['id'] ?? audit?.['prefix'],
      ]),
      [
        ['write', 'all', 'put', 'a'],
        ['write', 'all', 'state', 'a'],
        ['write', 'all', 'delete', 'a'],
        ['write', 'all', 'delete-prefix', 'zz'],
      ],
    );
    t.false(worker.output().includes(SECRET));
    t.false(worker.output().includes('Bearer'));
  },
);

/** Sends a body of a gigabyte until the connection is closed. Resolves with the answer, if one came, and the bytes that were sent. */
function sendHuge(headers: Record<string, string>): Promise<{ status: number | undefined; sent: number }> {
  return new Promise((resolve) => {
    const sending = request(`${url}/v1/items/huge`, {
      method: 'PUT',
      headers: { authorization: 'Bearer all', ...headers },
    });
    const piece = Buffer.alloc(64 * 1024);
    let sent = 0;
    let status: number | undefined;
    const pump = () => {
      while (!sending.closed && sent < HUGE_BYTES) {
        sent += piece.length;
        if (!sending.write(piece)) return;
      }
    };
    sending.on('drain', pump);
    sending.on('response', (response) => {
      status = response.statusCode;
      response.resume();
    });
    sending.on('error', () => undefined);
    sending.on('close', () => {
      resolve({ status, sent });
    });
    pump();
  });
}

for (const [what, headers] of [
  ['that says its length', { 'content-length': String(HUGE_BYTES) }],
  ['that does not', { 'transfer-encoding': 'chunked' }],
] as const) {
  test.serial(`I10: a body of a gigabyte ${what} is refused before its end, and logged once`, async (t) => {
    const start = worker.output().length;
    const { status, sent } = await sendHuge(headers);
    t.is(status, 413);
    t.true(sent < HUGE_BYTES, `${sent} bytes were sent`);
    await eventually(() => linesSince(start).length > 0, 'it is logged');
    t.deepEqual(
      linesSince(start).map(({ code }) => code),
      ['ERR_BODY_TOO_LARGE'],
    );
  });
}

/** What comes back before the server closes the connection. */
function answerTo(head: string): Promise<string> {
  const { port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), '127.0.0.1');
    let text = '';
    socket.on('data', (part: Buffer) => (text += part.toString()));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(text));
    socket.write(head);
  });
}

test.serial(
  'I10: a body that comes too slowly is refused with 408 by every route, and logged once',
  async (t) => {
    const routes = [
      ['PUT', '/v1/items/slow'],
      ['DELETE', '/v1/items/slow'],
      ['DELETE', '/v1/items?prefix=slow'],
      ['PATCH', '/v1/items/slow/state'],
      ['POST', '/v1/items:get'],
      ['POST', '/v1/none'],
    ] as const;
    const start = worker.output().length;
    await Promise.all(
      routes.map(async ([method, path]) => {
        const head = headOf(method, path, 4096, ['Authorization: Bearer all'], 'application/json');
        t.regex(
          await answerTo(`${head}1`),
          /^HTTP\/1.1 408 .*"code":"ERR_BODY_TIMEOUT"/s,
          `${method} ${path}`,
        );
      }),
    );
    await eventually(() => linesSince(start).length >= routes.length, 'they are logged');
    t.deepEqual(
      linesSince(start).map(({ code }) => code),
      routes.map(() => 'ERR_BODY_TIMEOUT'),
    );
  },
);

test.serial('I10: headers that come too slowly, or are none, are refused and logged once', async (t) => {
  for (const [head, status, code] of [
    ['GET /v1/items/a HTTP/1.1\r\nX-Long: ', 408, 'ERR_BODY_TIMEOUT'],
    ['this is not HTTP\r\n\r\n', 400, 'ERR_INVALID_REQUEST'],
    [`GET / HTTP/1.1\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'ERR_INVALID_REQUEST'],
  ] as const) {
    const start = worker.output().length;
    const answer = await answerTo(head);
    t.true(answer.startsWith(`HTTP/1.1 ${status} `), answer);
    t.true(answer.includes(code));
    await eventually(() => linesSince(start).length > 0, 'it is logged');
    t.deepEqual(
      linesSince(start).map((line) => line.code),
      [code],
    );
  }
});

test.serial('I10: a body without end keeps no connection, whatever the route and the token', async (t) => {
  const port = Number(new URL(url).port);
  const routes = [
    'GET /v1/items/a',
    'PUT /v1/items/a',
    'DELETE /v1/items/a',
    'PATCH /v1/items/a/state',
    'POST /v1/items:get',
  ];
  const others = [
    'POST /v1/items:batch',
    'GET /v1/items',
    'DELETE /v1/items',
    'GET /openapi.json',
    'GET /docs',
    'POST /none',
  ];
  const heads = [...routes, ...others].flatMap((route) => {
    const [method = '', path = ''] = route.split(' ');
    return [[], ['Authorization: Bearer all']].map((token) => headOf(method, path, 1_000_000, token));
  });
  await Promise.all(heads.map((head) => sendSlowly(port, head)));
  t.is((await call('/v1/items/none')).status, 404);
});

test('I10: a token that asks too often is told to wait, and others are not', async (t) => {
  const gateway = await startTestGateway(t, deployment, { gatewayRequestsPerSecond: 3 });
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => gateway.call('/v1/status/a', { token: 'reader' })),
  );
  const refused = answers.filter(({ status }) => status === 429);
  t.true(refused.length > 0);
  t.true(Number(refused[0]?.headers.get('retry-after')) >= 1);
  t.deepEqual(await refusalOf(refused[0] as Response), [429, PROBLEM, 'ERR_TOO_MANY_REQUESTS']);
  t.is((await gateway.call('/v1/status/a')).status, 200);
  await eventually(
    async () => (await gateway.call('/v1/status/a', { token: 'reader' })).status === 200,
    'its second is over',
  );
  const strangers = await Promise.all(
    Array.from({ length: 130 }, () => gateway.call('/v1/status/a', { token: '' })),
  );
  t.deepEqual([...new Set(strangers.map(({ status }) => status))], [401, 429]);
});
