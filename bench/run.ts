import { parseArgs } from 'node:util';
import { containsBench } from './contains.ts';
import { connectionsBench } from './connections.ts';
import { drainBench } from './drain.ts';
import { enqueueBench } from './enqueue.ts';
import { filterBench } from './filter.ts';
import { floodBench } from './flood.ts';
import { gatewayBench } from './gateway.ts';
import { growthBench } from './growth.ts';
import { latencyBench } from './latency.ts';
import { merkleBench } from './merkle.ts';
import { type Bench, type Metric, metricLine, metricOf } from './metric.ts';
import { partitionsBench } from './partitions.ts';
import { peersBench } from './peers.ts';
import { putBench } from './put.ts';
import { rangesBench } from './ranges.ts';
import { readBench } from './read.ts';
import { scalingBench } from './scaling.ts';
import { scanBench } from './scan.ts';
import { sizesBench } from './sizes.ts';
import { wholeRun } from './whole-run.ts';

const BENCHES: Readonly<Record<string, Bench>> = {
  drain: drainBench,
  enqueue: enqueueBench,
  filter: filterBench,
  contains: containsBench,
  read: readBench,
  put: putBench,
  ranges: rangesBench,
  scan: scanBench,
  flood: floodBench,
  partitions: partitionsBench,
  sizes: sizesBench,
  gateway: gatewayBench,
  connections: connectionsBench,
  merkle: merkleBench,
  latency: latencyBench,
  growth: growthBench,
  scaling: scalingBench,
  peers: peersBench,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    items: { type: 'string' },
    seconds: { type: 'string' },
    before: { type: 'string' },
  },
});
const unknown = positionals.filter((name) => BENCHES[name] === undefined);
const [items, seconds] = [values.items, values.seconds].map((text) =>
  text === undefined ? undefined : Number(text),
);
const isPositive = (value: number | undefined) =>
  value === undefined || (Number.isInteger(value) && value > 0);
const isWhole = positionals.length === 0 && (items ?? seconds ?? values.before) === undefined;
if (unknown.length > 0 || !isPositive(items) || !isPositive(seconds)) {
  console.error(
    `usage: npm run bench -- [${Object.keys(BENCHES).join('|')}]... [--json] [--items N] [--seconds N] [--before DIR]

Without a name and a size all benches run, about a quarter of an hour. Their results are written to bench/results, and the
pictures and tables of the docs are drawn from them. Otherwise the results are only printed.

--before DIR  \`partitions\` compares the drain of one partition with that of an earlier checkout in DIR, which must be built.
              Without it p1_ratio compares one partition that is asked for with the default: the same code, so it shows no more
              than how steady the machine is.`,
  );
  process.exit(2);
}

const print = (metric: Metric) => console.log(values.json ? JSON.stringify(metric) : metricLine(metric));
const names = positionals.length === 0 ? Object.keys(BENCHES) : positionals;
if (isWhole) {
  process.exitCode = (await wholeRun(names, print)) ? 0 : 1;
} else {
  for (const name of names) {
    await BENCHES[name]?.((metric, value, unit) => print(metricOf(name, metric, value, unit)), {
      items,
      seconds,
      before: values.before,
    });
  }
}
