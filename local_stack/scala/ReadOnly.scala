package lambda_dl

import java.lang.reflect.{InvocationHandler, InvocationTargetException, Proxy}

import org.apache.hadoop.fs.Path
import org.apache.spark.sql.{SparkSession, SparkSessionExtensions}
import org.apache.spark.sql.catalyst.FunctionIdentifier
import org.apache.spark.sql.catalyst.catalog.HiveTableRelation
import org.apache.spark.sql.catalyst.expressions.{CallMethodViaReflection, Expression, ExpressionInfo}
import org.apache.spark.sql.catalyst.parser.ParserInterface
import org.apache.spark.sql.catalyst.plans.logical.{Command, LogicalPlan, ScriptTransformation}
import org.apache.spark.sql.execution.command.SetCommand
import org.apache.spark.sql.execution.datasources.{HadoopFsRelation, LogicalRelation}
import org.apache.spark.sql.execution.datasources.v2.{DataSourceV2Relation, DataSourceV2ScanRelation}

/** HiveServer2 answers questions about the lake and changes nothing, not in the metastore either.
  *
  * The S3 keys keep an analyst from writing data; without this one could still drop a table's registration or a view,
  * and with the rights of the server's own process run a program (`TRANSFORM ... USING`), call any Java method
  * (`reflect`), read this machine's files by the path of an XML schema, or have the session load a catalog or a file
  * system that does. Tables by their path (`parquet.`s3a://…``) are not there at all: Spark infers their schema, with
  * options of the statement's choice, before any rule sees the plan (`spark.sql.runSQLOnFiles`, in the configuration).
  */
class ReadOnly extends (SparkSessionExtensions => Unit) {
  override def apply(extensions: SparkSessionExtensions): Unit = {
    // They read a schema by its path, and as soon as they are made: in the place of an argument before any rule.
    for (name <- Seq("from_xml", "schema_of_xml")) {
      val refused: Seq[Expression] => Expression = _ => Refused(name)
      extensions.injectFunction((FunctionIdentifier(name), new ExpressionInfo(getClass.getName, name), refused))
    }
    extensions.injectParser((session, parser) => RefuseLoading(session, parser))
    extensions.injectCheckRule(_ => (plan: LogicalPlan) => plan.foreachWithSubqueries(refuse))
  }

  private def refuse(plan: LogicalPlan): Unit = {
    plan match {
      case SetCommand(Some((name, Some(_)))) if RefuseLoading.loads(name) => Refused(name)
      case command: Command if !harmless(command.getClass.getSimpleName) => Refused(command.nodeName)
      case _: ScriptTransformation => Refused("TRANSFORM with a program")
      case LogicalRelation(files: HadoopFsRelation, _, _, _, _) => files.location.rootPaths.foreach(inLake)
      case other: LogicalRelation => Refused(other.relation.getClass.getSimpleName)
      case hive: HiveTableRelation => inLake(new Path(hive.tableMeta.location))
      case other @ (_: DataSourceV2Relation | _: DataSourceV2ScanRelation) => Refused(other.nodeName)
      case _ =>
    }
    plan.expressions.foreach(_.foreach {
      case call: CallMethodViaReflection => Refused(call.prettyName)
      case _ =>
    })
  }

  private def inLake(path: Path): Unit =
    if (path.toUri.getScheme != "s3a") Refused(path.toString)

  private val othersThatRead = Set(
    "SetCommand", "ResetCommand", "SetCatalogAndNamespace", "SetNamespaceCommand", "SetCatalogCommand",
    "ExplainCommand", "RefreshTableCommand", "RefreshTable", "ListFilesCommand", "ListJarsCommand")

  private def harmless(name: String): Boolean =
    othersThatRead(name) || name.startsWith("Show") || name.startsWith("Describe") || name.startsWith("DeltaDescribe")
}

/** A parser that refuses every statement of a session with a setting by which Spark loads classes or shows secrets.
  *
  * A client may bring such settings when it opens its session, where no statement tells of them; and a catalog is loaded
  * as soon as its name is looked up, before any rule sees the plan. Hence the parser (with Hive's session state Spark
  * 4.2 does not ask hint rules, which would do).
  */
private object RefuseLoading {
  private val beginnings = Seq(
    "spark.sql.catalog.", "spark.hadoop.", "fs.", "spark.sql.analyzer.", "spark.sql.runSQLOnFiles",
    "spark.sql.variable.substitute", "spark.redaction.", "spark.sql.redaction.")
  def loads(name: String): Boolean = beginnings.exists(name.startsWith)

  def apply(session: SparkSession, parser: ParserInterface): ParserInterface = {
    val ours = session.sparkContext.getConf
    val handler: InvocationHandler = (_, method, arguments) => {
      for ((name, value) <- session.sessionState.conf.getAllConfs if loads(name) && !ours.getOption(name).contains(value))
        Refused(name)
      try method.invoke(parser, arguments: _*)
      catch { case failed: InvocationTargetException => throw failed.getCause }
    }
    val interface = classOf[ParserInterface]
    Proxy.newProxyInstance(interface.getClassLoader, Array[Class[_]](interface), handler).asInstanceOf[ParserInterface]
  }
}

private object Refused {
  def apply(what: String): Nothing = throw new UnsupportedOperationException(s"$what is refused: this server only reads")
}
