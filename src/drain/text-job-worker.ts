import { type Job, type JobJson, Worker } from 'bullmq';

/**
 * A BullMQ worker whose processor gets the text of a job's data and not the value it stands for. BullMQ parses the data
 * while it fetches the job: a text that is no JSON would make the fetch fail, and the job would come back for ever.
 */
export class TextJobWorker extends Worker<string, void> {
  protected override createJob(json: JobJson, jobId: string): Job<string, void> {
    const job = super.createJob({ ...json, data: '""' }, jobId);
    job.data = json.data;
    return job;
  }
}
