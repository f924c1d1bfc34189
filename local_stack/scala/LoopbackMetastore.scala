package lambda_dl

import java.net.InetSocketAddress

import org.apache.hadoop.hive.metastore.{HiveMetaStore, RetryingHMSHandler, TServerSocketKeepAlive, TSetIpAddressProcessor}
import org.apache.hadoop.hive.metastore.api.ThriftHiveMetastore
import org.apache.hadoop.hive.metastore.conf.MetastoreConf
import org.apache.thrift.protocol.TBinaryProtocol
import org.apache.thrift.server.TThreadPoolServer
import org.apache.thrift.transport.{TServerSocket, TTransportFactory}

/** Hive's metastore service on one address.
  *
  * HiveMetaStore 3.1.3 listens on all interfaces and has no setting for it. This is its start, less what needs
  * Kerberos or Hive's own transactions, which nothing here uses.
  */
object LoopbackMetastore {
  def main(args: Array[String]): Unit = {
    val Array(host, port) = args
    val conf = MetastoreConf.newMetastoreConf()
    val handler = new HiveMetaStore.HMSHandler("metastore", conf, false)
    val retrying = RetryingHMSHandler.getProxy(conf, handler, true)
    val socket = new TServerSocketKeepAlive(new TServerSocket(new InetSocketAddress(host, port.toInt)))
    val settings = new TThreadPoolServer.Args(socket)
      .processor(new TSetIpAddressProcessor[ThriftHiveMetastore.Iface](retrying.asInstanceOf[ThriftHiveMetastore.Iface]))
      .transportFactory(new TTransportFactory())
      .protocolFactory(new TBinaryProtocol.Factory())
      .minWorkerThreads(MetastoreConf.getIntVar(conf, MetastoreConf.ConfVars.SERVER_MIN_THREADS))
      .maxWorkerThreads(MetastoreConf.getIntVar(conf, MetastoreConf.ConfVars.SERVER_MAX_THREADS))
    val server = new TThreadPoolServer(settings)
    sys.addShutdownHook(server.stop())
    println(s"metastore listens on $host:$port")
    server.serve()
  }
}
