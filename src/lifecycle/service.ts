/** Something a worker process runs until it is told to stop. */
export interface Service {
  close(): Promise<void>;
}
