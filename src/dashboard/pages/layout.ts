import { type Content, type Html, html } from '../html.ts';
import type { Session } from '../sessions.ts';

export interface Frame {
  readonly session: Session | undefined;
  readonly readOnly: boolean;
  readonly namespace: string;
}

export interface PageParts {
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
  ['/dead-letters', 'Dead letters'],
  ['/queues/', 'Queues'],
] as const;

/** A whole page for who is signed in. */
export function page(frame: Frame, { title, at, refreshMs, content }: PageParts): Html {
  return document(
    title,
    html`<header class="top">
<a class="brand" href="/">${mark()}<span>Tierline</span></a>
<nav aria-label="Main"><ul>${MENU.map(
      ([path, name]) =>
        html`<li><a href="${path}"${path === at && html` aria-current="page"`}>${name}</a></li>`,
    )}</ul></nav>
<div class="who">${frame.namespace !== 'tierline' && html`<span class="pill">${frame.namespace}</span>`}${
      frame.readOnly && html`<span class="pill">read-only</span>`
    }${frame.session !== undefined && signOut(frame.session)}</div>
</header>
<main id="content" tabindex="-1"${refreshMs !== undefined && html` data-refresh="${refreshMs}"`}>${content}</main>`,
    refreshMs !== undefined,
  );
}

export function document(title: string, body: Content, scripts = false): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>${title} · Tierline</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
${scripts && html`<script type="module" src="/assets/live.js"></script>`}
</head>
<body>
<a class="skip" href="#content">Skip to content</a>
${body}
</body>
</html>
`;
}

/** The button of a form that changes something; without it in read-only mode. */
export function actionForm(frame: Frame, action: string, label: Content, fields: Content = ''): Html | false {
  if (frame.readOnly || frame.session === undefined) return false;
  return html`<form method="post" action="${action}">${csrfField(frame.session)}${fields}<button>${label}</button></form>`;
}

export function csrfField({ csrfToken }: Session): Html {
  return html`<input type="hidden" name="csrf" value="${csrfToken}">`;
}

function signOut(session: Session): Html {
  return html`<form method="post" action="/sign-out">${csrfField(session)}<button class="quiet">Sign out</button></form>`;
}

/** Three bars: the tiers. */
function mark(): Html {
  return html`<svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" focusable="false"><rect x="3" y="4" width="8" height="4" rx="2"/><rect x="3" y="10" width="13" height="4" rx="2"/><rect x="3" y="16" width="18" height="4" rx="2"/></svg>`;
}
