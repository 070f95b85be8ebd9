import { type Html, html } from '../html.ts';
import { document } from './layout.ts';

/** @param next where to go afterwards; a path of this server */
export function signInPage(next: string, problem?: string): Html {
  return document(
    'Sign in',
    html`<main id="content" class="sign-in" tabindex="-1">
<h1>Sign in to Tierline</h1>
<form method="post" action="/sign-in">
<input type="hidden" name="next" value="${next}">
${problem !== undefined && html`<p class="notice bad" role="alert" id="problem">${problem}</p>`}
<label for="secret">Password or access token</label>
<input id="secret" name="secret" type="password" autocomplete="current-password" required autofocus${
      problem !== undefined && html` aria-invalid="true" aria-describedby="problem"`
    }>
<button class="primary">Sign in</button>
</form>
</main>`,
  );
}
