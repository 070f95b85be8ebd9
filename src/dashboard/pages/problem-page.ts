import { type Html, html } from '../html.ts';
import { type Frame, page } from './layout.ts';

export function problemPage(frame: Frame, title: string, message: string): Html {
  return page(frame, {
    title,
    content: html`<h1>${title}</h1><p class="notice bad" role="alert">${message}</p><p><a href="/">To the overview</a></p>`,
  });
}
