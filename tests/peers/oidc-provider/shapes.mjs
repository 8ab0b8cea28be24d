// One provider in the paths, words and claims of others: Okta's org and custom authorization servers, Microsoft Entra.
import { createSign, randomUUID } from 'node:crypto';

const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const CODES = {
  authorization_pending: 70016, bad_verification_code: 70018, unauthorized_client: 700016, slow_down: 50196,
};
const TEXTS = {
  53003: 'Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.',
  50057: 'The user account is disabled.',
  50173: 'The provided grant has expired due to it being revoked, a fresh auth token is needed.',
};

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const read = (text) => JSON.parse(Buffer.from(text, 'base64url'));

/** An ID token with other claims, signed by the same key. */
function resigned(token, signer, claims, backdate) {
  const [head, payload] = token.split('.').map((piece, i) => (i < 2 ? read(piece) : piece));
  Object.assign(payload, { iat: payload.iat - backdate }, claims);
  for (const [name, value] of Object.entries(payload)) if (value === null) delete payload[name];
  const signed = `${part(head)}.${part(payload)}`;
  return `${signed}.${createSign('RSA-SHA256').update(signed).sign(signer, 'base64url')}`;
}

/** Neither asks for prompt=consent before it gives offline access, as OpenID Connect Core section 11 would have it. */
function lenient(request) {
  if (!request.url.includes('prompt=')) request.url = request.url.replace('/authorize?', '/authorize?prompt=consent&');
}

function step(ctx) {
  if (ctx.oidc?.route === 'device_authorization') return 'device';
  if (ctx.oidc?.route !== 'token') return '';
  const grant = ctx.oidc.params?.grant_type;
  if (grant === 'authorization_code') return 'code';
  return grant === DEVICE ? 'poll' : 'refresh';
}

function plain(mode) {
  return {
    path: '', routes: undefined, routed: (request) => request, answer: () => {},
    token: (token, signer) => resigned(token, signer, mode.claims, mode.backdate),
  };
}

function okta(options, mode) {
  const custom = options.shape === 'okta-custom';
  const path = custom ? '/oauth2/default' : '';
  const base = custom ? '/v1' : '/oauth2/v1';
  return {
    path,
    routes: {
      authorization: `${base}/authorize`, device_authorization: `${base}/device/authorize`, token: `${base}/token`,
      jwks: `${base}/keys`, revocation: `${base}/revoke`, userinfo: `${base}/userinfo`, code_verification: '/activate',
    },
    routed(request) {
      request.originalUrl = request.url;
      if (custom && request.url.startsWith(path)) request.url = request.url.slice(path.length) || '/';
      lenient(request);
      return request;
    },
    answer(ctx) {
      ctx.set('X-Okta-Request-Id', randomUUID());
      const at = step(ctx);
      if (at === 'device' && ctx.status === 200) ctx.body.interval ??= 5;
      const denied = at && mode.blocked === at && ctx.body?.error !== 'authorization_pending';
      if (denied) {
        const text = 'Policy evaluation failed for this request, please check the policy configuration.';
        ctx.status = 400;
        ctx.body = { error: 'access_denied', error_description: text };
      } else if (at === 'device' && ctx.body?.error === 'invalid_client') {
        ctx.body = {
          errorCode: 'invalid_client', errorSummary: "Invalid value for 'client_id' parameter.",
          errorLink: 'invalid_client', errorId: 'oae7Hkq0-test', errorCauses: [],
        };
      } else if (at === 'refresh' && ctx.body?.error === 'invalid_grant') {
        ctx.body.error_description = 'The refresh token is invalid or expired.';
      }
    },
    token: (token, signer) => resigned(
      token, signer, { ver: 1, jti: `ID.${randomUUID()}`, idp: '00o1', amr: ['mfa', 'otp', 'pwd'], ...mode.claims },
      mode.backdate,
    ),
  };
}

function entra(options, mode) {
  const { tenant, oid } = options;
  const base = `/${tenant}/oauth2/v2.0`;
  function refused(ctx, code, number) {
    const ids = { trace_id: '0f1e2d3c-0000-4000-8000-00000000abcd', correlation_id: randomUUID() };
    const tail = `Trace ID: ${ids.trace_id}\r\nCorrelation ID: ${ids.correlation_id}\r\nTimestamp: 2026-11-23 20:00:00Z`;
    const text = TEXTS[number] ?? ctx.body?.error_description ?? code;
    ctx.status = 400;
    ctx.body = {
      error: code, error_description: `AADSTS${number}: ${text}\r\n${tail}`, error_codes: [number],
      timestamp: '2026-11-23 20:00:00Z', ...ids, error_uri: `https://login.microsoftonline.com/error?code=${number}`,
    };
  }
  return {
    path: `/${tenant}/v2.0`,
    routes: {
      authorization: `${base}/authorize`, device_authorization: `${base}/devicecode`, token: `${base}/token`,
      jwks: `/${tenant}/discovery/v2.0/keys`, userinfo: '/oidc/userinfo', code_verification: '/devicelogin',
    },
    routed(request) {
      request.url = request.url.replace(`/${tenant}/v2.0/.well-known/`, '/.well-known/');
      lenient(request);
      return request;
    },
    answer(ctx) {
      const at = step(ctx);
      if (ctx.oidc?.route === 'discovery') delete ctx.body.revocation_endpoint;
      if (!at) return;
      if (at === 'device' && ctx.status === 200) {
        ctx.body.interval ??= 5;
        ctx.body.expires_in = 900;
        delete ctx.body.verification_uri_complete;
        ctx.body.message = 'To sign in, open https://evil.example and enter the code EVIL.';
        if (mode.oldName) {
          ctx.body.verification_url = ctx.body.verification_uri;
          delete ctx.body.verification_uri;
        }
      }
      let code = ctx.body?.error;
      if (mode.blocked === at && code !== 'authorization_pending') {
        refused(ctx, at === 'refresh' ? 'interaction_required' : 'invalid_grant', 53003);
      } else if (code) {
        if (code === 'access_denied') code = 'authorization_declined';
        if (code === 'invalid_client') code = 'unauthorized_client';
        if (code === 'invalid_grant' && at === 'poll') code = 'bad_verification_code';
        refused(ctx, code, CODES[code] ?? (at === 'refresh' ? (mode.left ? 50057 : 50173) : 70000));
      }
    },
    token: (token, signer) => resigned(
      token, signer, { ver: '2.0', tid: tenant, oid, amr: null, uti: randomUUID(), ...mode.claims }, mode.backdate,
    ),
  };
}

export function shaped(options, mode) {
  if (options.shape === 'entra') return entra(options, mode);
  if (options.shape?.startsWith('okta-')) return okta(options, mode);
  return plain(mode);
}
