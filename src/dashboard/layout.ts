import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Config } from '../config.ts';
import { printable } from '../printable.ts';

/** Markup that is safe to send. Only `html` makes it, and `html` escapes all values. */
export class Html {
  readonly #text: string;

  private constructor(text: string) {
    this.#text = text;
  }

  static of(strings: TemplateStringsArray, values: readonly Content[]): Html {
    return new Html(
      strings.reduce((text, string, i) => text + (i === 0 ? '' : textOf(values[i - 1])) + string, ''),
    );
  }

  toString(): string {
    return this.#text;
  }
}

export type Content = Html | string | number | null | undefined | false | readonly Content[];

/**
 * A tagged template: `html\`<p title="${title}">${text}</p>\``. Values are escaped for text and quoted attributes, lists are
 * joined, and null, undefined and false are left out. There is no way to put in markup that is not `Html`. Characters that
 * cannot be seen come out as `printable` escapes.
 */
export function html(strings: TemplateStringsArray, ...values: readonly Content[]): Html {
  return Html.of(strings, values);
}

const LINE_BREAK = html`\n`;

/**
 * The first value of an input. The browser sends it back as it is, so it must not hold escapes. For a text with characters
 * that cannot be seen the input starts empty.
 */
export function fieldValue(text: string): string {
  return printable(text) === text ? text : '';
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};

function textOf(value: Content): string {
  if (value === null || value === undefined || value === false) return '';
  if (value instanceof Html) return value.toString();
  if (typeof value === 'object') return value.map(textOf).join('');
  return escaped(printable(String(value)));
}

/** Text of several lines, for `pre`. */
export function lines(text: string): Html {
  return html`${text.split('\n').map((line, i) => [i > 0 && LINE_BREAK, line])}`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"'`]/g, (character) => ENTITIES[character] ?? '');
}

/** What every page knows about where and for whom it is shown. */
export interface Frame {
  /** Begins every link: `/tierline` for a dashboard that is mounted there, else empty. */
  readonly basePath: string;
  /** Each form carries it. Undefined for who has no session, and so no forms: a program with the token, or nobody yet. */
  readonly csrfToken: string | undefined;
  /** Whether there is a session of ours to sign out of. */
  readonly canSignOut: boolean;
  readonly readOnly: boolean;
  /** Peers are configured, so the menu has their page. */
  readonly hasPeers: boolean;
  readonly namespace: string;
}

/** The frame of the pages that answer a request. */
export type FrameOf = (request: FastifyRequest, reply: FastifyReply) => Frame;

/** @param canSignOut false when the application decides who may enter */
export function frames(config: Config, basePath: string, canSignOut: boolean): FrameOf {
  return (request, reply) => {
    const isBrowser = request.visitor === 'browser';
    return {
      basePath,
      csrfToken: isBrowser ? reply.generateCsrf() : undefined,
      canSignOut: isBrowser && canSignOut,
      readOnly: config.dashboardReadOnly,
      hasPeers: config.peers.length > 0,
      namespace: config.namespace,
    };
  };
}

interface PageParts {
  readonly title: string;
  /** Path of the entry of the menu that this page belongs to. */
  readonly at?: string;
  /** Parts marked `data-live` are fetched again this often. */
  readonly refreshMs?: number;
  readonly content: Content;
}

const MENU = [
  ['/', 'Overview'],
  ['/item', 'Item'],
  ['/merkle', 'Merkle'],
  ['/peers', 'Peers'],
  ['/dead-letters', 'Dead letters'],
  ['/queues/', 'Queues'],
] as const;

/** A whole page with the menu. */
export function page(frame: Frame, { title, at, refreshMs, content }: PageParts): Html {
  const { basePath, namespace, readOnly, hasPeers } = frame;
  const menu = MENU.filter(([path]) => path !== '/peers' || hasPeers);
  return document(
    basePath,
    title,
    html`<header class="top">
<a class="brand" href="${basePath}/">${mark()}<span>Tierline</span></a>
<nav aria-label="Main"><ul>${menu.map(
      ([path, name]) =>
        html`<li><a href="${basePath}${path}"${path === at && html` aria-current="page"`}>${name}</a></li>`,
    )}</ul></nav>
<div class="who">${namespace !== 'tierline' && html`<span class="pill">${namespace}</span>`}${
      readOnly && html`<span class="pill">read-only</span>`
    }${signOut(frame)}</div>
</header>
<main id="content" tabindex="-1"${refreshMs !== undefined && html` data-refresh="${refreshMs}"`}>${content}</main>`,
    refreshMs !== undefined,
  );
}

export function document(basePath: string, title: string, body: Content, scripts = false): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>${title} · Tierline</title>
<link rel="icon" href="${basePath}/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="${basePath}/assets/style.css">
${scripts && html`<script type="module" src="${basePath}/assets/live.js"></script>`}
</head>
<body>
<a class="skip" href="#content">Skip to content</a>
${body}
</body>
</html>
`;
}

export function problemPage(frame: Frame, title: string, message: string): Html {
  return page(frame, {
    title,
    content: html`<h1>${title}</h1><p class="notice bad" role="alert">${message}</p><p><a href="${frame.basePath}/">To the overview</a></p>`,
  });
}

/**
 * The button of a form that changes something; without it in read-only mode.
 * @param action path inside the dashboard
 * @param fields sent with it
 */
export function actionForm(
  frame: Frame,
  action: string,
  label: Content,
  fields: Readonly<Record<string, string>> = {},
): Html | false {
  if (frame.readOnly || frame.csrfToken === undefined) return false;
  const hidden = Object.entries(fields).map(
    ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
  );
  return html`<form method="post" action="${frame.basePath}${action}">${csrfField(frame)}${hidden}<button>${label}</button></form>`;
}

/** A link to the page of one id. */
export function itemLink({ basePath }: Frame, id: string, label: Content): Html {
  return html`<a href="${basePath}/item?id=${encodeURIComponent(id)}">${label}</a>`;
}

export function send(reply: FastifyReply, content: Html): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(content.toString());
}

function csrfField({ csrfToken }: Frame): Html {
  return html`<input type="hidden" name="csrf" value="${csrfToken}">`;
}

function signOut(frame: Frame): Html | false {
  if (!frame.canSignOut) return false;
  return html`<form method="post" action="${frame.basePath}/sign-out">${csrfField(frame)}<button class="quiet">Sign out</button></form>`;
}

/** Three bars: the tiers. */
function mark(): Html {
  return html`<svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" focusable="false"><rect x="3" y="4" width="8" height="4" rx="2"/><rect x="3" y="10" width="13" height="4" rx="2"/><rect x="3" y="16" width="18" height="4" rx="2"/></svg>`;
}
