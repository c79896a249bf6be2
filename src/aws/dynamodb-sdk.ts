/** The SDK's client for DynamoDB, and nothing else: large, and only leases in a table need it. */
export { DynamoDBClient, GetItemCommand, PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
