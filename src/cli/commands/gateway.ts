import { Argument, Command } from '@commander-js/extra-typings';
import { gatewayTokenList, tokenEntry } from '../../gateway-tokens.ts';
import { examples, EXIT, type ExitCode } from '../command.ts';
import { PROCESSES } from '../processes.ts';
import { facts } from '../terminal.ts';

export const gateway = new Command('gateway')
  .description('Serve items over HTTP until a signal ends it, or make a token for it')
  .addArgument(
    new Argument('[token]', 'make a token and its entry of TIERLINE_GATEWAY_TOKENS').choices(['token']),
  )
  .option('--name <name>', 'what the audit lines call who has the token')
  .option('--scopes <scopes>', 'what it may do: read, write, peer, with commas between them', 'read,write')
  .option('--prefix <prefix>', 'confine it to ids that begin with this text', '')
  .option('--json', 'print the token and the entry as JSON')
  .addHelpText(
    'after',
    examples(
      ['tierline gateway', 'needs TIERLINE_GATEWAY_TOKENS'],
      ['tierline gateway token --name shop --scopes read --prefix uk.shop.', 'a token, and its entry'],
    ),
  )
  .action(async (task, options) => {
    if (task === undefined) await PROCESSES.get('gateway')?.();
    else process.exitCode = await printToken(options);
  });

interface TokenOptions {
  readonly name?: string | undefined;
  readonly scopes: string;
  readonly prefix: string;
  readonly json?: true | undefined;
}

/** The token is printed once and kept nowhere: the gateway knows its hash alone. */
async function printToken({ name, scopes, prefix, json }: TokenOptions): Promise<ExitCode> {
  if (name === undefined) {
    console.error('tierline gateway token: give a --name.');
    return EXIT.usage;
  }
  const { hashToken, makeToken } = await import('../../gateway/tokens.ts');
  const token = makeToken();
  const given = { name, scopes: scopes.split(','), hash: hashToken(token), prefix };
  const { data, error } = gatewayTokenList.safeParse([given]);
  const [made] = data ?? [];
  if (made === undefined) {
    console.error(`tierline gateway token: ${error?.issues[0]?.message}`);
    return EXIT.usage;
  }
  const entry = tokenEntry(made);
  console.log(
    json === true
      ? JSON.stringify({ token, entry })
      : facts([
          ['token, for the client alone', token],
          ['entry of TIERLINE_GATEWAY_TOKENS', entry],
        ]),
  );
  return EXIT.ok;
}
