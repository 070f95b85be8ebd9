import * as fc from 'fast-check';

/** What the tests read of an OpenAPI 3.1 document. */
export interface OpenApi {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

export interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly required?: boolean;
    readonly schema: Schema;
  }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, unknown>> }>>;
}

export interface Schema {
  readonly anyOf?: readonly Schema[];
  readonly const?: unknown;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
}

/** Values that a schema allows, and sometimes others. */
export function valueOf(schema: Schema): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 6, arbitrary: allowed(schema) },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  );
}

const text = fc.oneof(
  fc.constantFrom('a', 'shop.a', 'shop.'),
  fc.stringMatching(/^[a-c./]{1,4}$/),
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constantFrom('', '\0', '%', '..', '__proto__', 'a'.repeat(256), '{', 'null'),
);

function allowed({
  anyOf,
  const: constant,
  type,
  enum: values,
  minimum = -10,
  maximum = 10,
  items = {},
  properties,
  required = [],
}: Schema): fc.Arbitrary<unknown> {
  if (anyOf !== undefined) return fc.oneof(...anyOf.map(allowed));
  if (constant !== undefined) return fc.constant(constant);
  if (type === 'null') return fc.constant(null);
  if (values !== undefined) return fc.constantFrom(...values);
  if (type === 'string') return text;
  if (type === 'integer' || type === 'number') {
    return fc.oneof(
      fc.integer({ min: minimum, max: maximum }),
      fc.constantFrom(minimum - 1, maximum + 1, 0.5),
    );
  }
  if (type === 'boolean') return fc.boolean();
  if (type === 'array') return fc.array(valueOf(items), { maxLength: 4 });
  if (properties === undefined) return fc.jsonValue({ maxDepth: 3 });
  const parts = Object.entries(properties).map(([name, part]) => [name, valueOf(part)] as const);
  return fc.record(Object.fromEntries(parts), { requiredKeys: [...required] });
}

const ODD_QUERIES = ['wait=settled', 'prefix=a', 'state=a&state=b', 'none=1', '%zz', 'prefix=%ff'];

export interface FuzzedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Buffer | undefined;
}

/** Requests of one operation: mostly as its document describes them, sometimes not. */
export function requestsOf(
  path: string,
  method: string,
  { parameters = [], requestBody }: Operation,
): fc.Arbitrary<FuzzedRequest> {
  const inPath = parameters.filter((parameter) => parameter.in === 'path');
  const inQuery = parameters.filter((parameter) => parameter.in === 'query');
  const inHeader = parameters.filter((parameter) => parameter.in === 'header');
  // Few at a time: of many one is always wrong, and then nothing else is tried.
  const valuesOf = (some: typeof parameters) =>
    fc
      .subarray([...some], { maxLength: Math.min(2, some.length) })
      .chain((chosen) =>
        fc.record(Object.fromEntries(chosen.map(({ name, schema }) => [name, valueOf(schema)]))),
      );
  return fc
    .record({
      path: fc.tuple(...inPath.map(({ schema }) => valueOf(schema))),
      query: valuesOf(inQuery),
      extra: fc.oneof(
        { weight: 4, arbitrary: fc.constant('') },
        { weight: 1, arbitrary: fc.constantFrom(...ODD_QUERIES) },
      ),
      headers: valuesOf(inHeader),
      body: bodyOf(requestBody),
    })
    .map(({ path: values, query, extra, headers, body }) => ({
      method: method.toUpperCase(),
      path: `${values.reduce<string>((text, value) => text.replace(/\{\w+\}/, encoded(value)), path)}?${queryOf(query)}${extra}`,
      headers: {
        ...Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, encoded(value)])),
        ...(body.type !== undefined && { 'content-type': body.type }),
      },
      body: body.bytes,
    }));
}

interface FuzzedBody {
  readonly type: string | undefined;
  readonly bytes: string | Buffer | undefined;
}

function bodyOf(requestBody: Operation['requestBody']): fc.Arbitrary<FuzzedBody> {
  if (requestBody === undefined) return fc.constant({ type: undefined, bytes: undefined });
  const types = Object.keys(requestBody.content);
  const ofType = types.map((type) => {
    const { schema = {} } = requestBody.content[type] ?? {};
    const value =
      type === 'application/x-ndjson'
        ? linesOfItems()
        : valueOf(schema).map((value) => JSON.stringify(value));
    return value.map((bytes): FuzzedBody => ({ type, bytes }));
  });
  const junk = fc.record({
    type: fc.constantFrom(...types, 'text/plain', 'nonsense', 'application/json; charset=latin1', undefined),
    bytes: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  });
  return fc.oneof({ weight: 4, arbitrary: fc.oneof(...ofType) }, { weight: 1, arbitrary: junk });
}

/** Nearly items, a line each. */
function linesOfItems(): fc.Arbitrary<string> {
  const item = fc.record(
    {
      id: valueOf({ type: 'string' }),
      content: fc.jsonValue({ maxDepth: 3 }),
      state: valueOf({ type: 'string' }),
      contentType: fc.constantFrom('json', 'binary', 'other'),
      traceParent: valueOf({ type: 'string' }),
    },
    { requiredKeys: [] },
  );
  const line = fc.oneof(
    { weight: 5, arbitrary: item.map((value) => JSON.stringify(value)) },
    { weight: 1, arbitrary: text },
  );
  return fc.array(line, { maxLength: 6 }).map((lines) => lines.join('\n'));
}

function queryOf(query: Readonly<Record<string, unknown>>): string {
  return Object.entries(query)
    .map(([name, value]) => `${name}=${encoded(value)}&`)
    .join('');
}

/** Any text: encodeURIComponent alone refuses lone surrogates. */
function encoded(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  return encodeURIComponent(text.toWellFormed());
}
