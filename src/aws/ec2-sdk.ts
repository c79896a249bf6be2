/**
 * The SDK's clients for EC2 and STS, and nothing else. They are large, and a push needs neither: whoever needs them
 * imports this module at that moment.
 */
export {
  DescribeInstancesCommand,
  type DescribeInstancesCommandInput,
  EC2Client,
  type Filter,
  GetConsoleOutputCommand,
  type Instance,
  StartInstancesCommand,
} from '@aws-sdk/client-ec2';
export { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
