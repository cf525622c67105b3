// A real OpenID provider for tests: node oidc_provider.mjs NODE_MODULES PORT
import { generateKeyPairSync } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const [modules, port] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));
const exported = (type, options, more) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), use: 'sig', ...more,
});
const signers = { 'urn:edge:rs': 'RS256', 'urn:edge:ps': 'PS256', 'urn:edge:es': 'ES256' };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: {
    keys: [
      exported('rsa', { modulusLength: 2048 }, { kid: 'k1', alg: 'RS256' }),
      exported('rsa', { modulusLength: 2048 }, { kid: 'k2', alg: 'PS256' }),
      exported('ec', { namedCurve: 'P-256' }, { kid: 'k3', alg: 'ES256' }),
    ],
  },
  clients: [{
    client_id: 'viewer', client_secret: 'for-tests', grant_types: ['client_credentials'],
    redirect_uris: [], response_types: [],
  }],
  scopes: ['dicomweb.read'],
  extraTokenClaims: async () => ({ groups: ['readers'], site: 'home' }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (context, resource) => ({
        scope: 'dicomweb.read', audience: resource, accessTokenFormat: 'jwt',
        accessTokenTTL: 300, jwt: { sign: { alg: signers[resource] } },
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
