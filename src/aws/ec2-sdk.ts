/**
 * The SDK's clients for EC2 and STS, and nothing else. They are large, and a push needs neither: whoever needs them
 * imports this module at that moment.
 */
export {
  DeleteKeyPairCommand,
  DescribeImagesCommand,
  DescribeInstanceConnectEndpointsCommand,
  DescribeInstancesCommand,
  type DescribeInstancesCommandInput,
  DescribeKeyPairsCommand,
  EC2Client,
  type Ec2InstanceConnectEndpoint,
  type Filter,
  GetConsoleOutputCommand,
  ImportKeyPairCommand,
  type Instance,
  ModifyInstanceAttributeCommand,
  StartInstancesCommand,
  StopInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
export { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
