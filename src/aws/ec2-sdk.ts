/** The SDK's clients for EC2 and STS, and the signature for tunnels. They are large, and a push needs none of them. */
export {
  DeleteKeyPairCommand,
  DescribeImagesCommand,
  DescribeInstanceConnectEndpointsCommand,
  DescribeInstancesCommand,
  DescribeKeyPairsCommand,
  EC2Client,
  GetConsoleOutputCommand,
  ImportKeyPairCommand,
  ModifyInstanceAttributeCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
export { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
export { SignatureV4 } from '@smithy/signature-v4';
