// A real OpenID provider for tests: node oidc_provider.mjs NODE_MODULES PORT [VIEWER_ORIGIN]
// With a viewer's origin it also has a public client `ohif`, whose people log in by any name:
// whoever is called operator-... is in the group `operators`, everybody else in `readers`.
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [modules, port, viewer] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));
const exported = (type, options, more) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), use: 'sig', ...more,
});
const dicomweb = 'urn:teleprefetch:dicomweb';
const signers = {
  'urn:edge:rs': 'RS256', 'urn:edge:ps': 'PS256', 'urn:edge:es': 'ES256', [dicomweb]: 'RS256',
};
const groupsOf = (name) => [name?.startsWith('operator-') ? 'operators' : 'readers'];
const service = {
  client_id: 'viewer', client_secret: 'for-tests', grant_types: ['client_credentials'],
  redirect_uris: [], response_types: [],
};
const ohif = {
  client_id: 'ohif', token_endpoint_auth_method: 'none', response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [`${viewer}/callback`],
  post_logout_redirect_uris: [`${viewer}/logged-out`],
};
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: {
    keys: [
      exported('rsa', { modulusLength: 2048 }, { kid: 'k1', alg: 'RS256' }),
      exported('rsa', { modulusLength: 2048 }, { kid: 'k2', alg: 'PS256' }),
      exported('ec', { namedCurve: 'P-256' }, { kid: 'k3', alg: 'ES256' }),
    ],
  },
  clients: viewer ? [service, ohif] : [service],
  scopes: ['openid', 'offline_access', 'dicomweb.read'],
  claims: { openid: ['sub'], profile: ['name'] },
  findAccount: (context, id) => ({ accountId: id, claims: () => ({ sub: id, name: id }) }),
  extraTokenClaims: async (context, token) => ({
    groups: groupsOf(token.accountId), site: 'home',
  }),
  issueRefreshToken: async (context, client) => client.grantTypeAllowed('refresh_token'),
  clientBasedCORS: (context, origin) => origin === viewer,
  cookies: { keys: ['for-tests'] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: Boolean(viewer) },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => dicomweb,
      useGrantedResource: () => true,
      getResourceServerInfo: (context, resource) => ({
        scope: 'dicomweb.read', audience: resource, accessTokenFormat: 'jwt',
        accessTokenTTL: 300, jwt: { sign: { alg: signers[resource] } },
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
