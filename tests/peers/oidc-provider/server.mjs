// An independent OpenID provider on loopback for the tests. Prints one line of JSON with its issuer, and ends when its
// standard input does. What a person would do on its pages, a test does with POST /_t/decide and /_t/mode.
// Option "shape" puts it into the paths, words and claims of okta-org, okta-custom or entra (shapes.mjs); "port" and
// "state" let it be started again as it was.
import { createServer } from 'node:http';
import { createPrivateKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import Provider from 'oidc-provider';
import { shaped } from './shapes.mjs';

const options = JSON.parse(process.argv[2] ?? '{}');
const saved = options.state && existsSync(options.state) ? JSON.parse(readFileSync(options.state)) : undefined;
const people = new Map(saved?.people ?? (options.people ?? ['u-developer']).map((sub) => [sub, {}]));
const mode = {
  browser: 'allow',
  page: undefined, // with which error and description the pages end where they do not allow
  slowDown: 0, authTime: options.authTime ?? true, interval: options.interval,
  grace: options.grace ?? 0, // seconds for which a spent refresh token is taken again
  claims: {}, // put into ID tokens over everything else; null takes one out
  backdate: options.backdate ?? 0, // seconds by which iat and nbf lie back
  blocked: '', // 'device', 'poll', 'code' or 'refresh': where the tenant's policy says no
  nonce: options.dpop === 'nonce', // whether a proof has to carry a nonce of the provider's
  noProofs: false, // whether this client's proofs are refused though the metadata lists algorithms
  dead: false, // whether nothing is done and nothing answered
  cut: 0, // so many refreshes are done and not answered
  sits: undefined, // who sits before the browser; the developer by default
  left: false, // whether an account was deleted
  oldName: false, // verification_url instead of verification_uri
};

// Keeps everything in a map per model, so that a test can look and change; as the bundled one, without its limits.
const stores = new Map((saved?.stores ?? []).map(([name, entries]) => [name, new Map(entries)]));
class Memory {
  constructor(name) {
    this.name = name;
    if (!stores.has(name)) stores.set(name, new Map());
    this.store = stores.get(name);
  }
  async upsert(id, payload) { this.store.set(id, payload); }
  async find(id) {
    const found = this.store.get(id);
    if (this.name !== 'RefreshToken' || Date.now() / 1000 - found?.consumed >= mode.grace) return found;
    return found && { ...found, consumed: undefined };
  }
  async findByUserCode(userCode) { return [...this.store.values()].find((v) => v.userCode === userCode); }
  async findByUid(uid) { return [...this.store.values()].find((v) => v.uid === uid); }
  async consume(id) { this.store.get(id).consumed ??= Math.floor(Date.now() / 1000); }
  async destroy(id) { this.store.delete(id); }
  async revokeByGrantId(grantId) {
    for (const [id, value] of this.store) if (value.grantId === grantId) this.store.delete(id);
  }
}

const key = saved?.key ?? {
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid: randomUUID(), use: 'sig', alg: 'RS256',
};
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

const server = createServer();
await new Promise((done) => server.listen(options.port ?? 0, '127.0.0.1', done));
const shape = shaped(options, mode);
const issuer = `http://127.0.0.1:${server.address().port}${shape.path}`;

const provider = new Provider(issuer, {
  adapter: Memory,
  clients: [{
    client_id: 'juniper-device', token_endpoint_auth_method: 'none', application_type: 'native',
    grant_types: [DEVICE, 'refresh_token'], redirect_uris: [], response_types: [],
    id_token_signed_response_alg: 'RS256',
  }, {
    client_id: 'juniper-browser', token_endpoint_auth_method: 'none', application_type: 'native',
    grant_types: ['authorization_code', 'refresh_token'], redirect_uris: ['http://127.0.0.1/callback'],
    response_types: ['code'], id_token_signed_response_alg: 'RS256',
  }, ...(options.clients ?? [])],
  jwks: { keys: [key] },
  scopes: ['openid', 'offline_access', 'profile'],
  claims: { openid: mode.authTime ? ['sub', 'amr', 'auth_time'] : ['sub', 'amr'], profile: ['preferred_username'] },
  conformIdTokenClaims: false,
  ...(shape.routes && { routes: shape.routes }),
  rotateRefreshToken: true,
  features: {
    devInteractions: { enabled: false },
    dPoP: {
      enabled: Boolean(options.dpop), requireNonce: () => mode.nonce,
      ...(options.dpop === 'nonce' && { nonceSecret: Buffer.alloc(32, 7) }),
    },
    revocation: { enabled: true },
    resourceIndicators: { enabled: false },
    deviceFlow: { enabled: true, charset: 'base-20', mask: '****-****' },
  },
  interactions: { url: (_ctx, interaction) => `/_t/interaction/${interaction.uid}` },
  ttl: { IdToken: 3600, AccessToken: 3600, RefreshToken: 86400, DeviceCode: 600, Grant: 86400, Session: 86400 },
  issueRefreshToken: async (_ctx, client, code) =>
    client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  findAccount: async (_ctx, sub) =>
    people.has(sub) ? { accountId: sub, claims: async () => ({ sub, preferred_username: sub }) } : undefined,
  cookies: { keys: ['a key of the tests alone'] },
});

provider.use(async (ctx, next) => {
  if (mode.noProofs && ctx.get('DPoP')) {
    ctx.status = 400;
    ctx.body = { error: 'invalid_dpop_proof', error_description: 'not for this client' };
    return;
  }
  await next();
  if (ctx.oidc?.route === 'device_authorization' && ctx.status === 200 && mode.interval) {
    ctx.body.interval = mode.interval;
  }
  if (ctx.oidc?.route === 'token' && ctx.body?.error === 'authorization_pending' && mode.slowDown > 0) {
    mode.slowDown -= 1;
    ctx.body = { error: 'slow_down' };
  }
  shape.answer(ctx);
  if (ctx.oidc?.route === 'token' && ctx.oidc.params?.grant_type === 'refresh_token' && mode.cut > 0) {
    mode.cut -= 1;
    ctx.req.socket.destroy();
  }
});

// What is signed is the shape's affair: the token is taken apart and signed again with the same key.
const signer = createPrivateKey({ key, format: 'jwk' });
const issue = provider.IdToken.prototype.issue;
provider.IdToken.prototype.issue = async function (...how) {
  return shape.token(await issue.apply(this, how), signer);
};

async function decide({ user_code: userCode, sub, decision }) {
  const code = await provider.DeviceCode.findByUserCode(userCode.replace(/\W/g, '').toUpperCase());
  const now = Math.floor(Date.now() / 1000);
  if (decision === 'deny') {
    Object.assign(code, { error: 'access_denied', errorDescription: 'the person said no' });
  } else if (decision === 'expire') {
    code.exp = now - 1;
  } else {
    const grant = new provider.Grant({ accountId: sub, clientId: code.clientId });
    grant.addOIDCScope(code.params.scope);
    Object.assign(code, {
      accountId: sub, grantId: await grant.save(), scope: code.params.scope,
      amr: ['pwd', 'mfa'], authTime: now, sessionUid: randomUUID(),
    });
  }
  await code.save(600);
}

// The provider's pages: whoever opens one is the developer, and answers as the mode says.
async function interact(request, response) {
  const { params, prompt } = await provider.interactionDetails(request, response);
  const sub = mode.sits ?? 'u-developer';
  let result = mode.page ?? { error: 'access_denied', error_description: 'the person said no' };
  if (mode.browser === 'allow') {
    const grant = new provider.Grant({ accountId: sub, clientId: params.client_id });
    grant.addOIDCScope(params.scope);
    result = { consent: { grantId: await grant.save() } };
    if (prompt.name === 'login') result.login = { accountId: sub, amr: ['pwd', 'mfa'] };
  }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

async function body(request) {
  let text = '';
  for await (const piece of request) text += piece;
  return JSON.parse(text || '{}');
}

const callback = provider.callback();
server.on('request', async (request, response) => {
  if (request.url.startsWith('/_t/interaction/')) return interact(request, response);
  if (mode.dead && !request.url.includes('/_t/')) return request.socket.destroy();
  const told = /\/_t\/(\w+)$/.exec(request.url);
  if (!told) return callback(shape.routed(request), response);
  const asked = await body(request);
  if (told[1] === 'decide') await decide(asked);
  if (told[1] === 'mode') Object.assign(mode, asked);
  if (told[1] === 'remove') mode.left = people.delete(asked.sub);
  if (told[1] === 'add') people.set(asked.sub, {});
  response.writeHead(204).end();
});

process.stdin.resume();
process.stdin.on('end', () => {
  const entries = [...stores].map(([name, store]) => [name, [...store]]);
  if (options.state) writeFileSync(options.state, JSON.stringify({ key, people: [...people], stores: entries }));
  process.exit(0);
});
console.log(JSON.stringify({ issuer }));
