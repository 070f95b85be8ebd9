// What the compiler cannot see: promises that nobody waits for, import circles, and the architecture.

/** Folders of src, bottom to top. A folder imports from the floors below its own, never from its neighbours. */
const floors = [
  ['schema', 'batch', 'merkle', 'filter'],
  ['redis', 'postgres'],
  ['tiers'],
  ['producer', 'read', 'drain', 'maintenance'],
  ['store', 'lifecycle', 'peers'],
  ['metrics'],
  ['health'],
  ['dashboard', 'gateway'],
  ['cli'],
];
const ground = floors[0];

/** Floors below that a folder must not use either. */
const forbidden = {
  // A service that only writes has Redis and nothing else: it opens redis/backend.ts, all others open tiers/backends.ts.
  producer: ['tiers', 'postgres'],
  // It joins the write side and the read side of a service; workers are processes of their own.
  store: ['drain', 'maintenance'],
  // It brings rows of other deployments in; drain workers write them.
  peers: ['producer', 'drain'],
  // Start, signals and stop are the same for every process, whatever it runs.
  lifecycle: ['redis', 'postgres', 'tiers', 'producer', 'read', 'drain', 'maintenance'],
  // It shows what the workers do and never does their work.
  dashboard: ['store', 'drain'],
  // It is a service that writes and reads.
  gateway: ['drain', 'maintenance'],
};

/** The only folders that may import a library. */
const owners = {
  '@commander-js/extra-typings': ['cli'],
  bullmq: ['redis', 'producer', 'drain', 'maintenance', 'peers', 'dashboard'],
  ioredis: ['redis'],
  knex: ['postgres'],
  pg: ['postgres'],
  'pg-copy-streams': ['postgres'],
  // postgres: calls that ask every shard.
  'p-limit': ['read', 'drain', 'postgres'],
};

const architecture = floors.flatMap((floor, level) =>
  floor.map((folder) => {
    const neighbours = floor === ground ? [] : floor.filter((other) => other !== folder);
    const closed = [...floors.slice(level + 1).flat(), ...neighbours, ...(forbidden[folder] ?? [])];
    return { files: [`src/${folder}/**`], rules: restrictedImports(folder, closed) };
  }),
);

function restrictedImports(folder, closed) {
  const paths = Object.entries(owners)
    .filter(([, folders]) => !folders.includes(folder))
    .map(([name, folders]) => ({ name, message: `${name} belongs to ${folders.join(', ')}.` }));
  const message = `${folder} imports only what lies below it, see floors in oxlint.config.mjs.`;
  const patterns = closed.length === 0 ? [] : [{ group: closed.map((other) => `**/${other}/**`), message }];
  return { 'no-restricted-imports': ['error', { paths, patterns }] };
}

const counted = { skipBlankLines: true, skipComments: true };
const lengths = {
  'max-lines': ['error', { max: 400, ...counted }],
  'max-lines-per-function': ['error', { max: 60, ...counted }],
};
/** Functions that are still longer than that, by file. Each is one list of parts or of steps in their order. */
const longFunctions = {
  'src/read/open-reader.ts': 'opens the backends and joins the parts of a reader',
  'src/metrics/process-metrics.ts': 'lists the counters and histograms',
};

export default {
  plugins: ['typescript', 'import', 'unicorn', 'promise', 'node'],
  categories: { correctness: 'error', suspicious: 'error' },
  rules: {
    'typescript/no-floating-promises': 'error',
    'typescript/no-misused-promises': 'error',
    'typescript/no-explicit-any': 'error',
    'typescript/consistent-type-imports': 'error',
    'import/no-cycle': ['error', { ignoreTypes: false }],
    'node/no-process-env': 'error',
    // Steps that must follow one another are awaited in loops here; what may run at once goes through p-limit.
    'no-await-in-loop': 'off',
    'no-underscore-dangle': 'off',
    'no-shadow': 'off',
    'unicorn/no-array-sort': 'off',
    'import/no-named-as-default-member': 'off',
    'typescript/no-unsafe-type-assertion': 'off',
  },
  ignorePatterns: ['dist', 'node_modules'],
  overrides: [
    ...architecture,
    { files: ['src/*.ts'], rules: restrictedImports('src', []) },
    { files: ['src/**', 'workers/**'], rules: lengths },
    { files: Object.keys(longFunctions), rules: { 'max-lines-per-function': 'off' } },
    {
      files: ['src/config.ts', 'scripts/**', 'docs/**', 'bench/**', 'test/**', 'demo/**'],
      rules: { 'node/no-process-env': 'off', 'typescript/unbound-method': 'off' },
    },
  ],
};
