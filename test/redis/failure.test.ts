import test from 'ava';
import { ReplyError } from 'ioredis';
import { redisFailure, type RedisFailure } from '../../src/redis/connect.ts';

/** As Redis 7 says them, and as Redis 6 does from inside a script. */
const REPLIES: Readonly<Record<RedisFailure, readonly string[]>> = {
  away: [
    'BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.',
    'LOADING Redis is loading the dataset in memory',
    'TRYAGAIN Multiple keys request during rehashing of slot',
    "READONLY You can't write against a read only replica. script: 3f, on @user_script:22.",
    "ERR Error running script (call to f_3f): @user_script:22: @user_script: 22: -READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    'MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk.',
    'NOAUTH Authentication required.',
    'NOSCRIPT No matching script. Please use EVAL.',
    'ERR max number of clients reached',
  ],
  memory: [
    "OOM command not allowed when used memory > 'maxmemory'. script: 3f, on @user_script:22.",
    "ERR Error running script (call to f_3f): @user_script:22: @user_script: 22: -OOM command not allowed when used memory > 'maxmemory'.",
  ],
  data: [
    'WRONGTYPE Operation against a key holding the wrong kind of value',
    'ERR string exceeds maximum allowed size (proto-max-bulk-len)',
  ],
};

for (const kind of ['away', 'memory', 'data'] as const) {
  for (const message of REPLIES[kind]) {
    test(`${kind}: ${message}`, (t) => t.is(redisFailure(new ReplyError(message)), kind));
  }
}

test('away: what is no reply of Redis', (t) => {
  t.is(redisFailure(new Error('Connection is closed.')), 'away');
  t.is(redisFailure(new Error('WRONGTYPE in some other program')), 'away');
  t.is(redisFailure('OOM'), 'away');
});
