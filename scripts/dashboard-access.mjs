import { randomBytes } from 'node:crypto';

/**
 * What `npm start` adds to the environment so that the dashboard, which refuses to run without credentials, can be signed
 * in to: a password of this run alone, unless the environment has credentials of its own.
 */
export async function dashboardAccess(env, say) {
  if (env.TIERLINE_DASHBOARD_PASSWORD_HASH || env.TIERLINE_DASHBOARD_TOKEN) return {};
  const { hashPassword } = await import('../dist/src/dashboard/password.js');
  const password = randomBytes(9).toString('base64url');
  const host = env.TIERLINE_DASHBOARD_HOST || '127.0.0.1';
  say(`dashboard: http://${host}:${env.TIERLINE_DASHBOARD_PORT || 3000}, password ${password} (of this run)`);
  return { TIERLINE_DASHBOARD_PASSWORD_HASH: await hashPassword(password) };
}
