import { startDashboard } from '../../src/dashboard/start-dashboard.ts';
import type { Service } from '../../src/lifecycle/service.ts';

export function start(): Promise<Service> {
  return startDashboard();
}
