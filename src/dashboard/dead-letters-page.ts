import { stampToMs } from '../clock.ts';
import { replayOutcomeSchema } from '../maintenance/replay.ts';
import type { DeadLetter, DeadLetterWithPayload } from '../postgres/dead-letters.ts';
import { bytes, count, time } from './overview-figures.ts';
import { actionForm, type Frame, type Html, html, itemLink, lines, page } from './layout.ts';
import { isUnderWay, type RequestedJob } from './requested-jobs.ts';

const REFRESH_MS = 1000;

export interface DeadLettersView {
  readonly total: number;
  readonly deadLetters: readonly DeadLetter[];
  /** Where older ones begin, if there are any. */
  readonly older: number | undefined;
  readonly replays: readonly RequestedJob[];
}

export function deadLettersPage(frame: Frame, { total, deadLetters, older, replays }: DeadLettersView): Html {
  return page(frame, {
    title: 'Dead letters',
    at: '/dead-letters',
    refreshMs: REFRESH_MS,
    content: html`<h1>Dead letters</h1>
<p>Operations that Postgres refused, newest first. A replay keeps the version the operation had, so it never undoes a newer write, and removes the letter once it has settled.</p>
<div data-live="replays" role="status">${
      replays.length > 0 && html`<h2>Replays</h2><ul class="runs">${replays.map(replay)}</ul>`
    }</div>
<div data-live="letters"><p><b>${count(total)}</b> ${total === 1 ? 'letter' : 'letters'}</p>
${deadLetters.length === 0 ? html`<p class="dim">Nothing to see here: all accepted writes could be stored.</p>` : html`<ul class="letters">${deadLetters.map((deadLetter) => summary(frame, deadLetter))}</ul>`}
${older !== undefined && html`<p><a href="${frame.basePath}/dead-letters?before=${older}">Older letters</a></p>`}</div>`,
  });
}

/** One dead letter with its payload, which is shown only when somebody asks for it. */
export function deadLetterPage(frame: Frame, deadLetter: DeadLetterWithPayload): Html {
  return page(frame, {
    title: `Dead letter ${deadLetter.seq}`,
    at: '/dead-letters',
    content: html`<h1>Dead letter ${deadLetter.seq}</h1>
<div class="letters"><div>${facts(frame, deadLetter)}${actionForm(frame, `/dead-letters/${deadLetter.seq}/replay`, 'Replay')}</div></div>
<h2 id="payload">Payload</h2><p>The operation as it was queued, ${bytes(deadLetter.payloadBytes)}.</p>
<pre class="scroll" tabindex="0" role="region" aria-labelledby="payload">${lines(shown(deadLetter.payload))}</pre>
<p><a href="${frame.basePath}/dead-letters">All dead letters</a></p>`,
  });
}

function summary(frame: Frame, deadLetter: DeadLetter): Html {
  return html`<li>${facts(frame, deadLetter)}<div class="actions"><a href="${frame.basePath}/dead-letters/${deadLetter.seq}" aria-label="Payload of letter ${deadLetter.seq}">Payload (${bytes(deadLetter.payloadBytes)})</a>
${actionForm(frame, `/dead-letters/${deadLetter.seq}/replay`, html`Replay<span class="hidden"> letter ${deadLetter.seq}</span>`)}</div></li>`;
}

function facts(frame: Frame, deadLetter: DeadLetter): Html {
  return html`<p class="id">${itemLink(frame, deadLetter.itemId, html`<code>${deadLetter.itemId}</code>`)}</p>
<p class="reason">${deadLetter.message}</p>
<dl><div><dt>Letter</dt><dd>${deadLetter.seq}</dd></div><div><dt>SQLSTATE</dt><dd>${deadLetter.sqlState ?? 'none'}</dd></div>
<div><dt>Attempts</dt><dd>${count(deadLetter.attempts)}</dd></div><div><dt>Accepted</dt><dd>${
    deadLetter.stamp === 0 ? 'unknown' : time(stampToMs(deadLetter.stamp))
  }</dd></div><div><dt>Refused</dt><dd>${time(deadLetter.diedAtMs)}</dd></div></dl>`;
}

const RESULTS = {
  replayed: ['normal', 'stored'],
  superseded: ['normal', 'a newer write had won; the letter is gone'],
  missing: ['normal', 'there was no item to change; the letter is gone'],
  dead: ['critical', 'refused again'],
  refused: ['critical', 'cannot be replayed'],
  gone: ['warn', 'there is no such letter any more'],
  lost: ['warn', 'the queue was lost meanwhile; replay it again'],
  busy: ['warn', 'a range delete is at work; replay it again'],
} as const;

function replay(job: RequestedJob): Html {
  const seq = (job.data as { seq?: unknown } | undefined)?.seq;
  const name = html`<span class="when">${time(job.requestedMs)}</span> Letter ${typeof seq === 'number' ? seq : '?'}: `;
  if (isUnderWay(job)) return html`<li>${name}<span class="pill warn">${job.state}</span></li>`;
  if (job.state === 'failed')
    return html`<li>${name}<span class="pill critical">failed</span> ${job.failure}</li>`;
  const result = replayOutcomeSchema.safeParse(job.result).data;
  if (result === undefined) return html`<li>${name}ended without a result</li>`;
  const [level, text] = RESULTS[result.status];
  return html`<li>${name}<span class="pill ${level}">${text}</span>${result.reason !== undefined && ` ${result.reason}`}</li>`;
}

const SHOWN_CHARACTERS = 100_000;

function shown(payload: string): string {
  const text = pretty(payload);
  return text.length <= SHOWN_CHARACTERS
    ? text
    : `${text.slice(0, SHOWN_CHARACTERS)}… and ${count(text.length - SHOWN_CHARACTERS)} characters more`;
}

function pretty(payload: string): string {
  try {
    return JSON.stringify(JSON.parse(payload), null, 2);
  } catch {
    return payload;
  }
}
