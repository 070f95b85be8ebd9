import { once } from 'node:events';
import { connect as connectTcp, isIP } from 'node:net';
import { connect as connectTls } from 'node:tls';

const answerWithinMs = 5_000;

/**
 * Sends commands to a Redis and returns their answers. Spoken by hand, because this runs before dependencies are
 * there; it knows just the answers the commands used here have: text, and flat lists of text.
 */
export async function askRedis(url, commands) {
  const socket = open(url);
  socket.setTimeout(answerWithinMs, () => socket.destroy(new Error('no answer in time')));
  try {
    await once(socket, url.protocol === 'rediss:' ? 'secureConnect' : 'connect');
    const all = [...login(url), ...commands];
    socket.write(all.map(encode).join(''));
    const answers = await readAnswers(socket, all.length);
    return answers.slice(-commands.length);
  } finally {
    socket.destroy();
  }
}

function open(url) {
  const host = url.hostname.replace(/^\[|\]$/g, '') || '127.0.0.1';
  const port = Number(url.port || 6379);
  if (url.protocol === 'redis:') return connectTcp({ host, port });
  if (url.protocol === 'rediss:') {
    return connectTls({ host, port, servername: isIP(host) ? undefined : host });
  }
  throw new Error(`REDIS_URL must begin with redis:// or rediss://, not ${url.protocol}//`);
}

function login({ username, password }) {
  if (password === '') return [];
  return [['AUTH', ...[username, password].filter(Boolean).map(decodeURIComponent)]];
}

function encode(words) {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}

async function readAnswers(socket, count) {
  let received = Buffer.alloc(0);
  for await (const chunk of socket) {
    received = Buffer.concat([received, chunk]);
    const answers = parseAnswers(received, count);
    if (answers !== undefined) return answers;
  }
  throw new Error('the connection was closed');
}

/** The first `count` answers, or undefined when they have not all arrived. */
function parseAnswers(bytes, count) {
  let position = 0;
  const answers = [];
  while (answers.length < count) {
    const answer = next();
    if (answer === undefined) return undefined;
    answers.push(answer);
  }
  return answers;

  function next() {
    const end = bytes.indexOf('\r\n', position);
    if (end === -1) return undefined;
    const kind = String.fromCharCode(bytes[position]);
    const head = bytes.toString('utf8', position + 1, end);
    position = end + 2;
    if (kind === '-') throw new Error(head);
    if (kind === '$') return text(Number(head));
    if (kind === '*') return list(Number(head));
    return head;
  }

  function text(length) {
    if (bytes.length < position + length + 2) return undefined;
    const value = bytes.toString('utf8', position, position + length);
    position += length + 2;
    return value;
  }

  function list(length) {
    const items = [];
    while (items.length < length) {
      const item = next();
      if (item === undefined) return undefined;
      items.push(item);
    }
    return items;
  }
}
