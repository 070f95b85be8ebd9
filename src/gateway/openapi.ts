import helmet from '@fastify/helmet';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { OpenAPIV3_1 } from 'openapi-types';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { VERSION } from '../version.ts';
import type { GatewayApp } from './parts.ts';
import { PROBLEM_TYPE, problemSchema } from './problem.ts';

/** A body that is described and not checked by its schema: bytes, or a stream. */
export interface RequestBody {
  readonly content: Readonly<Record<string, { readonly schema: object }>>;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    requestBody?: RequestBody;
  }
}

/** Content of an item. What comes as anything but JSON is stored as it is. */
export const ANY_CONTENT: RequestBody = {
  content: {
    'application/json': { schema: { description: 'JSON content' } },
    'application/octet-stream': {
      schema: { type: 'string', format: 'binary', description: 'Binary content' },
    },
  },
};

const failed = { content: { [PROBLEM_TYPE]: { schema: problemSchema } } };
/** The responses of every route that tell why it failed. */
export const failures = {
  '4xx': { description: 'The request was refused. Nothing was done.', ...failed },
  '5xx': { description: 'Full, or a server is away: try again after `Retry-After`.', ...failed },
} as const;

/** Register it before the routes, which it collects. */
export async function addDocument(app: GatewayApp): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Tierline gateway',
        version: VERSION,
        description: 'Writes and reads the items of a Tierline deployment.',
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: '/' }],
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
    transform: (input) => {
      const { schema, url } = jsonSchemaTransform(input);
      const body = input.route.config?.requestBody;
      return { schema: body === undefined ? schema : { ...schema, body }, url };
    },
    transformObject: (input) => withoutInputs(jsonSchemaTransformObject(input) as OpenAPIV3_1.Document),
  });
  app.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, (_request, reply) =>
    reply.header('cache-control', 'no-cache').send(app.swagger()),
  );
}

/** Without the input forms of the schemas, which only answers use. */
function withoutInputs(document: OpenAPIV3_1.Document): OpenAPIV3_1.Document {
  const schemas = Object.entries(document.components?.schemas ?? {}).filter(
    ([name]) => !name.endsWith('Input'),
  );
  return { ...document, components: { ...document.components, schemas: Object.fromEntries(schemas) } };
}

/** Everything comes from this server. Swagger UI writes styles into its page and carries icons in its style sheet. */
const PAGE_POLICY = {
  defaultSrc: ["'self'"],
  styleSrc: ["'self'", "'unsafe-inline'"],
  imgSrc: ["'self'", 'data:'],
  baseUri: ["'self'"],
  formAction: ["'self'"],
  frameAncestors: ["'none'"],
  objectSrc: ["'none'"],
};

/** A page that shows the document and tries its routes. All that it loads comes from this server. */
export async function addTryItPage(app: GatewayApp): Promise<void> {
  await app.register(async (scope) => {
    scope.addHook('onRoute', (route) => {
      route.config = { ...route.config, access: 'public' };
    });
    await scope.register(helmet, {
      contentSecurityPolicy: { useDefaults: false, directives: PAGE_POLICY },
      frameguard: { action: 'deny' },
      referrerPolicy: { policy: 'same-origin' },
      hsts: false,
    });
    await scope.register(swaggerUi, {
      routePrefix: '/docs',
      // No bar for the addresses of other documents, and no question to the validator of Swagger.
      uiConfig: { layout: 'BaseLayout', deepLinking: true, validatorUrl: null, tryItOutEnabled: true },
      theme: { title: 'Tierline gateway' },
    });
  });
}
