/** The SDK's client for EC2 Instance Connect and its reader of the AWS files: all that a push needs. */
export { EC2InstanceConnectClient, SendSSHPublicKeyCommand } from '@aws-sdk/client-ec2-instance-connect';
export { loadSharedConfigFiles } from '@smithy/core/config';
