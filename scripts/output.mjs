import { createInterface } from 'node:readline';
import { styleText } from 'node:util';

const colours = ['cyan', 'yellow', 'green', 'magenta', 'blue'];
const inColour = process.stdout.isTTY && !process.env.NO_COLOR;

/** Prints lines of several processes, each behind the name of its process. */
export async function openOutput(names) {
  const width = Math.max(...names.map((name) => name.length));
  const pretty = await logFormat();
  const prefixes = new Map(
    names.map((name, index) => [name, paint(colours[index % colours.length], `${name.padEnd(width)} | `)]),
  );

  const print = (name, text) => {
    for (const line of text.trimEnd().split('\n')) process.stdout.write(`${prefixes.get(name)}${line}\n`);
  };
  const follow = (name, stream) => {
    createInterface({ input: stream }).on('line', (line) => print(name, pretty(line)));
  };
  return { print, follow };
}

function paint(colour, text) {
  return inColour ? styleText(colour, text) : text;
}

/** Logs are lines of JSON, made readable where pino-pretty is there: a production install does without. */
async function logFormat() {
  try {
    const { prettyFactory } = await import('pino-pretty');
    const format = prettyFactory({
      colorize: inColour,
      ignore: 'pid,hostname',
      translateTime: 'SYS:HH:MM:ss.l',
    });
    return (line) => format(line) ?? line;
  } catch {
    return (line) => line;
  }
}
