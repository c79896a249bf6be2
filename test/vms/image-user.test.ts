import assert from 'node:assert/strict';
import { test } from 'node:test';
import { imageUser, imageUsers } from '../../src/vms/image-user.ts';

const owner = '123456789012';

test('determines the user of an image by its name', () => {
  const names: Readonly<Record<string, string>> = {
    'al2023-ami-2023.6.20250303.0-kernel-6.1-x86_64': 'ec2-user',
    'amzn2-ami-hvm-2.0.20250305.0-x86_64-gp2': 'ec2-user',
    'amzn2-ami-ecs-hvm-2.0.20250321-x86_64-ebs': 'ec2-user',
    'amazon-eks-node-1.32-v20250317': 'ec2-user',
    'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250305': 'ubuntu',
    'Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20250321': 'ubuntu',
    'Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.6 (Amazon Linux 2023) 20250321': 'ec2-user',
    'debian-12-amd64-20250316-2053': 'admin',
    'RHEL-9.5.0_HVM-20250313-x86_64-0-Hourly2-GP3': 'ec2-user',
    'suse-sles-15-sp6-v20250205-hvm-ssd-x86_64': 'ec2-user',
    'Fedora-Cloud-Base-AmazonEC2.x86_64-41-1.4': 'fedora',
    'CentOS Stream 9 x86_64 20250317': 'ec2-user',
    'CentOS-7-2111-20220825_1.x86_64-d9a3032a': 'centos',
    'Rocky-9-EC2-Base-9.5-20241118.0.x86_64': 'rocky',
    'AlmaLinux OS 9.5.20241120 x86_64': 'ec2-user',
    'OL9.5-x86_64-HVM-2024-12-02': 'ec2-user',
    'bitnami-wordpress-6.7.2-0-r01-linux-debian-12-x86_64-hvm-ebs': 'bitnami',
    'FreeBSD 14.2-RELEASE-amd64 base UFS': 'ec2-user',
    'Flatcar-stable-4081.3.2-hvm': 'core',
    'nixos/24.11.716390.9684b53175fc-x86_64-linux': 'root',
  };
  for (const [name, user] of Object.entries(names)) {
    assert.equal(imageUser({ id: 'ami-1', name, owner }), user, name);
    assert.ok(imageUsers.includes(user));
  }
});

test('otherwise uses owner, description and platform, in this order', () => {
  const image = { id: 'ami-1', name: 'golden-base-7', owner };
  assert.equal(imageUser(image), undefined);
  assert.equal(imageUser({ ...image, platform: 'Red Hat Enterprise Linux' }), 'ec2-user');
  assert.equal(imageUser({ ...image, platform: 'Red Hat', description: 'based on Debian 12' }), 'admin');
  const canonical = { ...image, owner: '099720109477', description: 'based on Debian 12' };
  assert.equal(imageUser(canonical), 'ubuntu');
  assert.equal(imageUser({ id: 'ami-1', owner: '__proto__' }), undefined);
});

test('never returns text of an image as the user', () => {
  for (const name of ['ec2-user; reboot', '-oProxyCommand=x', '$(id)', 'root\n']) {
    assert.equal(imageUser({ id: 'ami-1', name, description: name, owner: name, platform: name }), undefined);
  }
});
