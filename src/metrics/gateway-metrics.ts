import type { FastifyInstance } from 'fastify';
import { Counter, Histogram, type Registry } from 'prom-client';
import { seconds, STAGE_BUCKETS } from './registry.ts';

/** What a gateway shows of its requests. */
export interface GatewayMetrics {
  /** Counts the requests of this server. Call it before its routes are added. */
  watch(app: Pick<FastifyInstance, 'addHook'>): void;
}

export function gatewayMetrics(registry: Registry): GatewayMetrics {
  const registers = [registry];
  const requests = new Counter({
    name: 'tierline_gateway_requests_total',
    help: 'Requests answered, by route and status; the route none is every path that does not exist',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const duration = new Histogram({
    name: 'tierline_gateway_request_seconds',
    help: 'From the headers of a request to the end of its answer',
    labelNames: ['method', 'route'],
    buckets: STAGE_BUCKETS,
    registers,
  });
  return {
    watch: (app) =>
      app.addHook('onResponse', (request, reply, done) => {
        const { method } = request;
        const { url: route = 'none' } = request.routeOptions;
        requests.inc({ method, route, status: reply.statusCode });
        duration.observe({ method, route }, seconds(reply.elapsedTime));
        done();
      }),
  };
}
