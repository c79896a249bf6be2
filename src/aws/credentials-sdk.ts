/** The SDK's credential providers, and nothing else: only the caller's own process needs them. */
export {
  fromHttp,
  fromIni,
  fromInstanceMetadata,
  fromLoginCredentials,
  fromProcess,
  fromSSO,
  fromTokenFile,
} from '@aws-sdk/credential-providers';
export { externalDataInterceptor, loadSharedConfigFiles } from '@smithy/core/config';
